"""What every side of a mission shares: the scenario, the mission clock, the record of a run, what is averaged."""
