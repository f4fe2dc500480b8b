"""The command line of SkySplit: thin, no logic of its own."""
