"""The scenarios that ship with SkySplit, one TOML file each."""
