"""Links in time, and mission time in the emulation."""
