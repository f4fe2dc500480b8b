"""Tensors of the split as bytes: scaled, quantised, packed."""
