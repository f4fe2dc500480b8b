"""What is wrong with imagery, in one sentence."""

from __future__ import annotations


class ImageryError(ValueError):
    """What is wrong with the imagery: the file, what was found, what is allowed."""
