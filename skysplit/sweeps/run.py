"""Run a sweep: contact plans once per orbit, rounds in parallel, each on disk as it ends; go on after a kill."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mission.run_lock import RECORD, RunLock
from skysplit.sweeps.preparation import Prepared, prepare
from skysplit.sweeps.results import Results, write_rows
from skysplit.sweeps.study import Study
from skysplit.sweeps.worker import plan_job, start_process, write_contacts

CONTACTS = "contacts"
Progress = Callable[[str, int, int], None]  # what, how much is done, of how much


def run_sweep(
    study: Study,
    directory: Path,
    *,
    processes: int = 1,
    executor: Executor | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> list[dict[str, Any]]:
    """Plan every case of a sweep, and return a row for each, as its Parquet file has them.

    Cases that the directory holds already are not planned again, whether they are of this sweep or of another one.

    Args:
        study: What varies.
        directory: Made if needed. It holds ``cases.jsonl`` with a line per finished case, ``sweep.parquet``, and the
            contact plans.
        processes: How many plan at the same time.
        executor: Plans instead of processes of our own: any of ``concurrent.futures``, or Dask's
            ``client.get_executor()``. Its workers need SkySplit and the same directory.
        on_progress: Called with what is done, how many, and of how many.

    Raises:
        ValueError: Something is wrong with a case; nothing has been planned.
        mission.run_lock.RunBusyError: Another process sweeps into the directory.
        RuntimeError: A process of the sweep was killed.
    """
    directory = directory.resolve()
    prepared = prepare(study, directory / CONTACTS)
    with RunLock(directory, RECORD):
        (directory / CONTACTS).mkdir(parents=True, exist_ok=True)
        results = Results(directory)
        with _workers(processes, executor) as workers:
            _plan_missing(prepared, results, workers, on_progress)
        rows = results.rows(prepared.cases)
        write_rows(directory, rows)
    return rows


def _plan_missing(
    prepared: Prepared, results: Results, workers: Executor | None, on_progress: Progress
) -> None:
    jobs = {
        case.job.identity: case.job for case in prepared.cases if case.job.identity not in results
    }  # each once
    needed = dict.fromkeys(job.contacts for job in jobs.values())
    missing = [(prepared.contacts[path], path) for path in needed if not path.exists()]
    for done, _ in enumerate(_outcomes(workers, write_contacts, missing)):
        on_progress("contact plans", done + 1, len(missing))
    total = len(prepared.cases)
    on_progress("cases", total - len(jobs), total)
    # Those of one contact plan one after the other: a process keeps it.
    ordered = sorted(jobs.values(), key=lambda job: str(job.contacts))
    for done, found in enumerate(_outcomes(workers, plan_job, [(job,) for job in ordered])):
        results.add(found)
        on_progress("cases", total - len(jobs) + done + 1, total)


def _outcomes(
    workers: Executor | None, call: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]
) -> Iterator[Any]:
    """What the calls return, in any order."""
    if workers is None:
        for given in arguments:
            yield call(*given)
        return
    futures = [workers.submit(call, *given) for given in arguments]
    try:
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process of the sweep was killed, by the system if memory ran out; the same command goes on with the rest"
        ) from error
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def _workers(processes: int, executor: Executor | None) -> Iterator[Executor | None]:
    if executor is not None or processes <= 1:
        yield executor
        return
    # Processes that are spawned inherit neither threads nor locks of whatever the caller has loaded.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=start_process) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
