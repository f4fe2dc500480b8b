"""The split inside a round: features on their way, steps, and the answers to them."""
