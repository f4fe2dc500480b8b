"""Images that satellites take along their ground tracks."""
