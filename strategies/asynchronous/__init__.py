"""Missions without rounds: members train and deliver each in its own time, and the ground averages what has come."""
