"""Real places of ground stations."""
