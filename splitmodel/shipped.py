"""Find the weights that ship with SkySplit."""

import sys
from pathlib import Path

SHIPPED = ("synthetic-vit", "synthetic-multispectral")


def weights_dir(name: str) -> Path:
    """The directory of a model that ships with SkySplit, as `splitmodel.parts.load_split` takes it.

    Flower runs an app from a bundle that leaves `.safetensors` out, and puts the bundle first on `sys.path`;
    so the first `splitmodel` to be found may have no weights. Every entry of `sys.path` is tried: the bundle
    first, then the installed package (or, of an editable installation, the source tree).

    Raises:
        ValueError: no model of that name ships with SkySplit.
        FileNotFoundError: the name is right, but no installed `splitmodel` has its weights.
    """
    if name not in SHIPPED:
        raise ValueError(f"no weights called {name!r} ship with SkySplit; there are: {', '.join(SHIPPED)}")
    for entry in sys.path:
        candidate = Path(entry) / "splitmodel" / "weights" / name
        if (candidate / "model.safetensors").is_file():
            return candidate.resolve()
    raise FileNotFoundError(
        f"the weights {name!r} are not in the installed package; run `pip install .` in the project's "
        f"directory with {sys.executable}"
    )


def locate(name: str, path: Path | None) -> str | Path:
    """Return the location of a model: the directory `path` if given, a shipped model, or a hub name."""
    if path is not None:
        return path
    return weights_dir(name) if name in SHIPPED else name
