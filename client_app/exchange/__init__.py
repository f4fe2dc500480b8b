"""Exchange tensors with the ground, and sums of weights with the other satellites of the plane."""
