"""The space segment: what a satellite runs."""
