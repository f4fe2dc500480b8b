"""What the paper contributes: the three communication strategies, their baselines, the planner and its checker."""
