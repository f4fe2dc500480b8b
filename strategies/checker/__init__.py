"""An independent judge of plans; it imports nothing of the planner."""
