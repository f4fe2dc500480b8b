"""The ground segment: backbone, turns, checkpoints, report."""
