"""Text from outside, numbers in words, and the first cause of an error."""
