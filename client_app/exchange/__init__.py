"""What a satellite exchanges: tensors with the ground, sums with its plane."""
