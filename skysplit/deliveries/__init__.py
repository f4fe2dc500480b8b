"""What a run has trained, on its way up to the satellites."""
