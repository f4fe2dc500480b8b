"""What the parts of a model cost, counted from its modules or published."""
