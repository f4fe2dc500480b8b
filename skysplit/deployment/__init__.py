"""All that a mission needs on other machines."""
