"""Comparisons: cases side by side, whole missions, break-even points, and the summary in words."""
