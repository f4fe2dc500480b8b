"""Lets the tests of this folder import the worlds they share (pytest imports each file by itself)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "packages"))
