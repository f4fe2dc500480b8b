"""The page of all scenario keys, from the schema:

python -m skysplit.reference.scenario_reference > docs/scenario-keys.md
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from skysplit.reference.scenario_keys import scenario_keys, table_descriptions

_HEAD = """# Every key of a scenario

A scenario is a TOML file; `skysplit init ours.toml` writes one with all of this as comments. Any key can be
overridden: `--set training.rounds=3`, in Python `training={"rounds": 3}`; stations all together, as TOML:
`--set 'ground.stations=[{name = "Kiruna", lat_deg = 67.86, lon_deg = 20.96}]'`. A wrong key, unit or
value is one error that names file, key, what was found and what is allowed, before anything is computed.

Written from `mission/schema.py` by `python -m skysplit.reference.scenario_reference`.
"""


def reference() -> Iterator[str]:
    """The lines of the page, in Markdown."""
    yield from _HEAD.splitlines()
    described = table_descriptions()
    for table, keys in groupby(scenario_keys(), key=lambda key: key.table):
        heading = "[[ground.stations]]" if table == "ground.stations" else f"[{table}]"
        yield from ("", f"## `{heading}`" if table else "## Above all tables", "", described[table], "")
        yield from ("| key | is | allowed | default |", "|---|---|---|---|")
        for key in keys:
            default = f"`{key.default}`" if key.default else "needed"
            yield f"| `{key.name}` | {key.description.replace('|', chr(92) + '|')} | {key.allowed} | {default} |"


if __name__ == "__main__":
    print("\n".join(reference()))
