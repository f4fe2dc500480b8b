"""Links that fail: outages as distributions, rounds flown through drawn ones, and what planning anew saves."""
