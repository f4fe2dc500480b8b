"""What is wrong with imagery, in one sentence."""

from __future__ import annotations


class ImageryError(ValueError):
    """The imagery is wrong; the message names the file, what was found and what is allowed."""
