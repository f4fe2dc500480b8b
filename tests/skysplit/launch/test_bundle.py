"""The Flower app that a plain `flwr run` bundles, and the one that `skysplit run` does."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from skysplit.launch.flower_run import app_directory

ROOT = Path(__file__).resolve().parents[3]


def contents(bundle: bytes) -> dict[str, bytes]:
    """The files of a bundle, but for the list of them, which has the times of the bundling."""
    with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.startswith(".info/")}


def test_a_plain_flwr_run_bundles_the_same_files_as_skysplit_run(tmp_path: Path) -> None:
    from flwr.cli.build import build_fab_from_disk, build_fab_from_files

    ours = contents(build_fab_from_disk(app_directory(tmp_path)))
    # Flower walks the whole folder; hidden folders, an environment among them, are left out here to save time.
    entries = [ROOT / ".gitignore", *ROOT.glob("[!.]*")]
    tree = [path for entry in entries for path in (entry, *entry.rglob("*")) if path.is_file()]
    plain, _ = build_fab_from_files({path.relative_to(ROOT).as_posix(): path for path in tree})
    assert contents(plain) == ours
    assert {"client_app/client_app.py", "scenarios/walker-12.toml", "pyproject.toml"} <= ours.keys()
