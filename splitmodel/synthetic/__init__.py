"""Synthetic scenes, and the weights that ship, which were pretrained on them."""
