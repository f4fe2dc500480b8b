"""Which of two equal searches runs: numpy's, at once, or the one that numba compiles first (extra ``[fast]``).

Compiling takes some seconds of the first call on a machine.  The rule looks at the amount of work alone, never at
what is compiled already, so that every machine with the extra gets the same numbers from the same input.
"""

from __future__ import annotations

from importlib.util import find_spec

# Function values (rows times nodes of the ephemeris) from which on a search is compiled.  Fewer take numpy a few
# hundredths of a second; compiling would save half of that.
COMPILED_FROM = 300_000


def is_compiled(values: int, asked: bool | None) -> bool:
    """Whether a search over so many function values runs compiled; ``asked``, unless ``None``, decides.

    Raises ``ModuleNotFoundError`` where the compiled search is asked for without numba.
    """
    installed = find_spec("numba") is not None
    if asked and not installed:
        raise ModuleNotFoundError("compiled: found True without numba, which the extra [fast] installs")
    return installed and values >= COMPILED_FROM if asked is None else asked
