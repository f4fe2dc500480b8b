"""Find the family of a model: our own first, then the entry points `skysplit.families` of installed packages."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from mission.entry_points import MODEL_FAMILIES, EntryPointError, registered_names, registered_object
from splitmodel.families.errors import ModelLoadError, UnsupportedModelError
from splitmodel.families.galileo import GALILEO
from splitmodel.families.prithvi import PRITHVI
from splitmodel.families.protocol import Family
from splitmodel.families.timm_vit import TIMM
from splitmodel.families.transformers.aimv2 import AIMV2
from splitmodel.families.transformers.beit import BEIT
from splitmodel.families.transformers.clip import CLIP
from splitmodel.families.transformers.data2vec import DATA2VEC_VISION
from splitmodel.families.transformers.dinov2 import DINOV2, DINOV2_WITH_REGISTERS
from splitmodel.families.transformers.dinov3 import DINOV3
from splitmodel.families.transformers.pixio import PIXIO
from splitmodel.families.transformers.siglip import SIGLIP
from splitmodel.families.transformers.siglip2 import SIGLIP2
from splitmodel.families.transformers.vit import DEIT, IJEPA, MSN, VIT
from splitmodel.families.transformers.vit_mae import MAE

FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        VIT,
        DEIT,
        DINOV2,
        DINOV2_WITH_REGISTERS,
        DINOV3,
        IJEPA,
        MAE,
        MSN,
        CLIP,
        SIGLIP,
        SIGLIP2,
        AIMV2,
        BEIT,
        DATA2VEC_VISION,
        PIXIO,
        PRITHVI,
        GALILEO,
        TIMM,
    )
}


@cache
def families() -> Mapping[str, Family]:
    """All families by name, ours first.

    Raises:
        ModelLoadError: One that another package registers cannot be imported, is none, or has a name that is taken.
    """
    known = dict(FAMILIES)
    for name in registered_names(MODEL_FAMILIES):
        where, family = _registered(name)
        if family.name in known:
            raise ModelLoadError(
                f"entry point {MODEL_FAMILIES}: {where} is called {family.name!r}, as another family is; "
                "allowed: a name of its own"
            )
        known[family.name] = family
    return known


def family_of(raw: Mapping[str, Any]) -> Family:
    """The family of a model with this `config.json`.

    Raises:
        UnsupportedModelError: There is none; it says what was found and which there are.
        ModelLoadError: See :func:`families`.
    """
    for known in (lambda: FAMILIES, families):  # others are not imported for a model of ours
        for family in known().values():
            if family.recognises(raw):
                return family
    kind = next((key for key in ("model_type", "architecture") if raw.get(key)), None)
    model_type = f"{kind} {raw[kind]!r}" if kind else "no model_type in its config.json"
    raise UnsupportedModelError(
        f"cannot split this model: {model_type}; supported: {', '.join(sorted(families()))}"
    )


def _registered(name: str) -> tuple[str, Family]:
    """Return where the family under an entry point's name is, and the family."""
    try:
        where, family = registered_object(MODEL_FAMILIES, name, ())
    except EntryPointError as error:
        raise ModelLoadError(str(error)) from error
    if isinstance(family, type) and issubclass(family, Family):
        family = family()
    if not isinstance(family, Family):
        raise ModelLoadError(
            f"entry point {MODEL_FAMILIES}: {where} is a {type(family).__name__}; allowed: a "
            "splitmodel.families.Family"
        )
    return where, family
