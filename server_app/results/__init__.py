"""What comes out of a run: scores, predictions, the rows of its record."""
