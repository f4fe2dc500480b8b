"""The pages of keys and presets, made from the schema and the presets' file."""
