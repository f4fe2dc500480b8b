"""`skysplit export`: a run's trained model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mission.text.quantities import spoken_bytes
from skysplit.commands.arguments import fail
from skysplit.terminal import Terminal, busy

ONNX_FILE = "model.onnx"


def export(
    run: Annotated[Path, typer.Argument(help="Directory of a completed run.")],
    out: Annotated[
        Path | None, typer.Option(help=f"File to write; the default is RUN/final/{ONNX_FILE}.")
    ] = None,
) -> None:
    """Write a run's trained model as one ONNX file, and check it on the run's test images.

    The file takes pixel values as the images' files have them, adapter and head included. Needs the extra `onnx`.

    Example: `skysplit export runs/first`
    """
    from skysplit.deliveries.exported import export_onnx

    out = run / "final" / ONNX_FILE if out is None else out
    if not run.is_dir():
        fail(f"{run}: found no run directory, allowed: what skysplit run has written")
    try:
        with busy("writing the model, and computing the test images with it"):
            exported = export_onnx(run, out)
    except (ValueError, FileNotFoundError) as error:
        fail(str(error))
    console = Terminal()
    name, score, run_score = exported.score_name, exported.score, exported.run_score
    console.say(
        f"{exported.path}: {spoken_bytes(exported.size_bytes)}. On {exported.images} test images its {name} is "
        f"{score:.4f} (the run's: {run_score:.4f}), and no output differs from the trained model's by more than "
        f"{exported.difference:.1e} of the largest.",
    )
