"""Sweeps: one round planned for every combination of scenario keys, durable, in parallel, with a table and a page."""
