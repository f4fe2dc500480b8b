"""The audit of dependencies finds what is vulnerable, pinned or merely allowed."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

AUDIT = Path(__file__).resolve().parents[2] / "audit_dependencies.py"
LIST = '[[advisory]]\npackage = "Some_Thing"\nid = "CVE-1"\naffected = ">=1.2,<2.5"\nwhat = "leaks"\n'


@pytest.fixture(scope="module")
def audit() -> dict[str, Any]:
    sys.modules.pop("audit", None)
    return runpy.run_path(str(AUDIT))


def test_nothing_that_is_pinned_or_allowed_is_known_to_be_vulnerable() -> None:
    done = subprocess.run([sys.executable, str(AUDIT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "accepted: ray, CVE-2023-48022: Flower pins ray" in done.stdout


@pytest.mark.parametrize(
    ("allowed", "pinned", "found"),
    [
        (">=2.5", "2.5", []),
        (">=2.6,<3", "3.0", []),
        (">=2.5", "2.4", ["constraints.txt: Some_Thing 2.4 has CVE-1"]),
        (">=2.4", "2.5", ["pyproject.toml: some-thing>=2.4 allows 2.4"]),
        ("", "2.5", ["pyproject.toml: some-thing allows 1.2"]),
        (">=1.0,<1.3", "2.5", ["allows 1.2"]),
        ("<1.2", "1.1", []),
        (">1.2", "2.5", ["allows 1.2"]),
    ],
)
def test_an_affected_pin_and_an_affected_version_that_is_allowed_are_found(
    audit: dict[str, Any], allowed: str, pinned: str, found: list[str]
) -> None:
    wrong = list(
        audit["wrong"](
            audit["advisories"](LIST), {"some-thing": Version(pinned)}, [Requirement(f"some-thing{allowed}")]
        )
    )
    assert len(wrong) == len(found)
    assert all(part in line for part, line in zip(found, wrong, strict=True))


def test_what_is_accepted_has_a_reason_and_is_not_found(audit: dict[str, Any]) -> None:
    known = audit["advisories"](f'{LIST}accepted = "not reached"\n')
    assert not list(audit["wrong"](known, {"some-thing": Version("2.0")}, []))
