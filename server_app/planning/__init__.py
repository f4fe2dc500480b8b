"""From scenario and model to plans: what a round moves and computes, and when it is planned."""
