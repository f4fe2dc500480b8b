"""Errors of models that cannot be loaded."""

from __future__ import annotations


class ModelLoadError(ValueError):
    """The model cannot be loaded as asked; the message names the model, what was found and what is
    allowed."""


class NoTokenViewsError(ModelLoadError):
    """The model's tokens cannot be turned where they cross."""


class UnsupportedModelError(ModelLoadError):
    """The model is of a type that SkySplit does not know how to split."""
