"""What was trained as a release: a manifest with digests, chunks that resume, activation and rollback on board."""
