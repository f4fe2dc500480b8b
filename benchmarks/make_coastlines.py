"""Make ``orbit/coastlines.json`` from the countries of Natural Earth (1:110 million, public domain).

    pip download --no-deps geopandas==0.14.4 && python -m benchmarks.make_coastlines geopandas-0.14.4-py3-none-any.whl

geopandas before 1.0 brings them as a shapefile.  A stretch of border belongs to two countries, a stretch of coast to
one: what occurs once is the coast.
"""

from __future__ import annotations

import itertools
import json
import sys
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

SHAPEFILE = "geopandas/datasets/naturalearth_lowres/naturalearth_lowres.shp"
TARGET = Path(__file__).parent.parent / "orbit" / "coastlines.json"
TOLERANCE_DEG = 0.12
Point = tuple[float, float]  # longitude, latitude [deg]


def rings(shapefile: bytes) -> list[list[Point]]:
    """All rings of a shapefile of polygons (ESRI Shapefile Technical Description, July 1998)."""
    found, at = [], 100
    while at < len(shapefile):
        words = int.from_bytes(shapefile[at + 4 : at + 8], "big")
        record = shapefile[at + 8 : at + 8 + 2 * words]
        parts, points = np.frombuffer(record, "<i4", 2, 36)
        begins = [*np.frombuffer(record, "<i4", parts, 44).tolist(), int(points)]
        place = np.frombuffer(record, "<f8", 2 * points, 44 + 4 * parts).reshape(-1, 2).round(4).tolist()
        found += [[(x, y) for x, y in place[a:b]] for a, b in itertools.pairwise(begins)]
        at += 8 + 2 * words
    return found


def coasts(polygons: list[list[Point]]) -> list[list[Point]]:
    """Lines along the stretches that belong to one ring only, without the frame of the map."""
    count = Counter(frozenset(stretch) for ring in polygons for stretch in itertools.pairwise(ring))
    follows = defaultdict(list)
    for ring in polygons:
        for a, b in itertools.pairwise(ring):
            on_frame = (abs(a[0]) > 179.99 and abs(b[0]) > 179.99) or (a[1] < -89.99 and b[1] < -89.99)
            if a != b and count[frozenset((a, b))] == 1 and not on_frame:
                follows[a].append(b)
    lines = []
    starts = [a for a in follows if not any(a in after for after in follows.values())] + list(follows)
    for start in starts:
        while follows[start]:
            line = [start]
            while follows[line[-1]]:
                line.append(follows[line[-1]].pop())
            lines.append(line)
    return lines


def simplified(line: np.ndarray) -> np.ndarray:
    """The line without the points that lie within the tolerance of it (Douglas & Peucker 1973)."""
    along = line[-1] - line[0]
    length = np.hypot(*along)
    away = line - line[0]
    off = np.abs(along[0] * away[:, 1] - along[1] * away[:, 0]) / length if length else np.hypot(*away.T)
    farthest = int(off.argmax())
    if off[farthest] <= TOLERANCE_DEG:
        return line[[0, -1]]
    return np.concatenate([simplified(line[: farthest + 1])[:-1], simplified(line[farthest:])])


def main() -> None:
    polygons = rings(zipfile.ZipFile(sys.argv[1]).read(SHAPEFILE))
    lines = [simplified(np.array(line)).round(2).tolist() for line in coasts(polygons)]
    geometry = {"type": "MultiLineString", "coordinates": [line for line in lines if len(line) > 2]}
    TARGET.write_text(json.dumps(geometry, separators=(",", ":")) + "\n")
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    main()
