"""Pages and figures: what a run did, what a plan says, how strategies compare. No torch, no Flower."""
