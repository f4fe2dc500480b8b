"""Trained weights as a release: a manifest of digests, resumable chunks, and activation and rollback on board."""
