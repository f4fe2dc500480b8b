"""The lower bound: a duration that no plan of a round can beat."""
