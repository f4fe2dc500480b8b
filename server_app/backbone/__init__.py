"""The backbone on the ground: which steps it takes when, and what it needs for them."""
