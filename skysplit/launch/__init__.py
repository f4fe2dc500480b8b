"""Processes and containers that a command starts, watches and ends."""
