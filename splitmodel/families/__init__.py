"""Model families: how an architecture is read and split, ours first, then those that other packages register.

`protocol` says what a family is, `checkpoint` reads directories, `registry` finds families; one module for each
architecture. Families of `transformers` share `transformer_family`; Prithvi and Galileo have loaders of our own.
`splitmodel.testing` proves a family.
"""

from splitmodel.families.errors import ModelLoadError, NoTokenViewsError, UnsupportedModelError
from splitmodel.families.protocol import (
    Acquisition,
    Family,
    ModelInput,
    PoolingKind,
    Statistics,
    TokenLayout,
    Usage,
)
from splitmodel.families.registry import FAMILIES, families, family_of

__all__ = [
    "FAMILIES",
    "Acquisition",
    "Family",
    "ModelInput",
    "ModelLoadError",
    "NoTokenViewsError",
    "PoolingKind",
    "Statistics",
    "TokenLayout",
    "UnsupportedModelError",
    "Usage",
    "families",
    "family_of",
]
