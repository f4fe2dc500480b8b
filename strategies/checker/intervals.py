"""What the checker asks of intervals: which contains which, how many at once, whether their work can be served."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator

import numpy as np

SLACK_S = 1e-6


def inside(
    a: np.ndarray, b: np.ndarray, start_s: np.ndarray, end_s: np.ndarray,
    in_a: np.ndarray, in_b: np.ndarray, in_start_s: np.ndarray, in_end_s: np.ndarray, factor: int | None = None,
) -> np.ndarray:  # fmt: skip
    """For each interval the index of the interval of the same key (a, b) that contains it, -1 where none does."""
    if not len(in_a) or not len(a):
        return np.full(len(a), -1)
    factor = factor or int(max(np.max(b), np.max(in_b))) + 1
    key, in_key = a.astype(np.int64) * factor + b, in_a.astype(np.int64) * factor + in_b
    order = np.lexsort([in_start_s, in_key])
    # Compare (key, start) pairs by rank: all starts of both sides on one scale.
    starts = np.concatenate([in_start_s[order], start_s + SLACK_S])
    keys = np.concatenate([in_key[order], key])
    side = np.concatenate([np.zeros(len(order), int), np.ones(len(key), int)])
    merged = np.lexsort([side, starts, keys])
    last = np.maximum.accumulate(np.where(side[merged] == 0, merged, -1))
    of_query = np.empty(len(key), np.int64)
    query = side[merged] == 1
    of_query[merged[query] - len(order)] = last[query]
    candidate = order[np.maximum(of_query, 0)]
    good = (of_query >= 0) & (in_key[candidate] == key) & (in_end_s[candidate] >= end_s - SLACK_S)
    return np.where(good, candidate, -1)


def most_at_once(rows: np.ndarray) -> tuple[int, float]:
    """Return the largest number of windows that are open at once, and when."""
    time_s = np.concatenate([rows["start_s"] + SLACK_S, rows["end_s"]])
    change = np.concatenate([np.ones(len(rows), int), -np.ones(len(rows), int)])
    order = np.lexsort([change, time_s])
    level = np.cumsum(change[order])
    most = int(np.argmax(level))
    return int(level[most]), float(time_s[order][most])


def lateness_s(start_s: np.ndarray, end_s: np.ndarray, work_s: np.ndarray) -> float:
    """Return the lateness of the latest window under preemptive earliest-deadline-first service."""
    order = np.argsort(start_s, kind="stable")
    start_s, end_s, work_s = start_s[order], end_s[order], work_s[order]
    if (np.maximum.accumulate(end_s)[:-1] <= start_s[1:] + SLACK_S).all():  # one after the other
        return float(np.max(start_s + work_s - end_s, initial=0.0))
    starts_s = [*start_s.tolist(), math.inf]
    windows = np.stack([end_s, work_s], axis=1).tolist()
    now_s, late_s, upcoming = -math.inf, 0.0, 0
    ready: list[list[float]] = []
    while upcoming < len(windows) or ready:
        if not ready:
            now_s = max(now_s, starts_s[upcoming])
            alone = windows[upcoming]
            if now_s + alone[1] <= starts_s[upcoming + 1]:  # nobody comes before it is served
                now_s += alone[1]
                late_s = max(late_s, now_s - alone[0])
                upcoming += 1
                continue
        while starts_s[upcoming] <= now_s:
            heapq.heappush(ready, windows[upcoming])
            upcoming += 1
        until_s = starts_s[upcoming]
        due = ready[0]
        if now_s + due[1] <= until_s:
            now_s += due[1]
            late_s = max(late_s, now_s - due[0])
            heapq.heappop(ready)
        else:
            due[1] -= until_s - now_s
            now_s = until_s
    return late_s


def parts(sorted_values: np.ndarray) -> Iterator[np.ndarray]:
    """Indices of each run of equal values."""
    edges = [*first_of_each(sorted_values).tolist(), len(sorted_values)]
    every = np.arange(len(sorted_values))
    return (every[first:end] for first, end in itertools.pairwise(edges))


def first_of_each(sorted_values: np.ndarray) -> np.ndarray:
    """The index at which each run of equal values begins."""
    new = np.ones(len(sorted_values), bool)
    new[1:] = sorted_values[1:] != sorted_values[:-1]
    return np.flatnonzero(new)


def served(rows: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """Bytes served by each time, every window at a constant rate."""
    length_s = np.maximum(rows["end_s"] - rows["start_s"], 1e-9)
    part = np.clip((time_s[:, None] - rows["start_s"]) / length_s, 0.0, 1.0)
    return (part * rows["bytes"]).sum(axis=1)
