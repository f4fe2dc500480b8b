"""LoRA on the backbone: one adapter, many at once, and its dropout."""
