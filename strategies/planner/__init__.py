"""The round planner: contact plan, workload and strategies in, a plan of the round out."""
