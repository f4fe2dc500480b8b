"""What people should know before they trust a result that is not an error."""

from __future__ import annotations


class OrbitWarning(UserWarning):
    """A sentence for people about orbits: commands print it as it is, once."""
