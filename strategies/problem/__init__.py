"""What a round has to do and with what, and the plan that comes of it: plain data, no decision."""
