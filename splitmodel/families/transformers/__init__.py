"""Families whose modules are those of `transformers`."""
