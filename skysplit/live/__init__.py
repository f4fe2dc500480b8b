"""The page of a run that goes on: what it shows, and the server that shows it."""
