"""The relay of one node."""
