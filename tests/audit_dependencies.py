"""Hold what SkySplit installs against a stored list of known vulnerabilities; needs no network.

`python tests/audit_dependencies.py` prints what is wrong, one line each, and exits with 1 where anything is: a pin of
constraints.txt or a version that pyproject.toml allows which is known to be vulnerable, and not accepted with a reason.
What stays although it is affected is printed with its reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
KNOWN = Path(__file__).with_name("known_vulnerabilities.toml")


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability."""

    package: str
    id: str
    affected: SpecifierSet
    what: str
    accepted: str = ""


def advisories(text: str) -> list[Advisory]:
    """Read the stored list."""
    return [
        Advisory(**{**entry, "affected": SpecifierSet(entry["affected"])})
        for entry in tomllib.loads(text)["advisory"]
    ]


def pins(constraints: str) -> dict[str, Version]:
    """Return the pinned version of every package, by its normalised name."""
    found = {}
    for line in constraints.splitlines():
        words = line.partition("#")[0].strip()
        if words:
            requirement = Requirement(words)
            [pin] = requirement.specifier
            found[canonicalize_name(requirement.name)] = Version(pin.version)
    return found


def wrong(
    known: Sequence[Advisory], pinned: Mapping[str, Version], allowed: Sequence[Requirement]
) -> Iterator[str]:
    """Yield what is vulnerable and not accepted: pins, and the lowest versions that are allowed."""
    for advisory in known:
        if advisory.accepted:
            continue
        version = pinned.get(canonicalize_name(advisory.package))
        if version is not None and advisory.affected.contains(version, prereleases=True):
            yield f"constraints.txt: {advisory.package} {version} has {advisory.id}: {advisory.what}"
        for requirement in allowed:
            if canonicalize_name(requirement.name) == canonicalize_name(advisory.package):
                for found in _allowed_although_affected(requirement.specifier, advisory.affected):
                    yield f"pyproject.toml: {requirement} allows {found}, which has {advisory.id}: {advisory.what}"


def _allowed_although_affected(allowed: SpecifierSet, affected: SpecifierSet) -> Iterator[Version]:
    """Yield the versions at the edges of both that are in both; where two ranges meet, one of them has its edge."""
    edges = {Version(one.version) for one in (*allowed, *affected) if "*" not in one.version}
    edges |= {Version("0")} | {Version(f"{edge.base_version}.0.0.1") for edge in edges}
    for edge in sorted(edges):
        if allowed.contains(edge, prereleases=True) and affected.contains(edge, prereleases=True):
            yield edge
            return


def main() -> None:
    """Print what is wrong and what is accepted."""
    known = advisories(KNOWN.read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = (project["dependencies"], *project["optional-dependencies"].values())
    allowed = [Requirement(words) for group in groups for words in group]
    pinned = pins((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    found = list(wrong(known, pinned, allowed))
    for line in found:
        print(line)
    for advisory in known:
        if advisory.accepted:
            print(f"accepted: {advisory.package}, {advisory.id}: {advisory.accepted}")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
