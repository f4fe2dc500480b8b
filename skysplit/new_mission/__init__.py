"""A new scenario from what a person chooses: questions, choices and the values that follow."""
