"""Tests of flight dynamics share one set of elements, ``iss_elements``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
