"""Flight dynamics: constellations, contact windows, inter-satellite links and the contact plan they make."""
