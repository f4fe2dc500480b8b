"""Elements, propagation, frames: where satellites are."""
