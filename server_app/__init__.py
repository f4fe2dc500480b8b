"""The ground segment: backbone, scheduling, checkpoints, report."""
