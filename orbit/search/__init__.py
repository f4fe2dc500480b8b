"""When a station or a satellite sees another."""
