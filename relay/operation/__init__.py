"""What an operator sees of a relay: figures, logs, health."""
