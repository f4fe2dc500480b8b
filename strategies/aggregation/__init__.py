"""Averages of what satellites have trained: when, with which weights, and what the server does with them."""
