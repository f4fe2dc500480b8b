"""Where a model can be cut: what each place costs and lets the ground see, and the choice of one."""
