"""Deliver a run's trained weights to the satellites."""
