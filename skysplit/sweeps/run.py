"""Run a sweep: contact plans once per orbit, rounds in parallel, each on disk as it ends; go on after a kill."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mission.run_lock import RECORD, RunLock
from skysplit.sweeps.preparation import Prepared, prepare
from skysplit.sweeps.results import SweepResults, write_rows
from skysplit.sweeps.study import Study
from skysplit.sweeps.worker import plan_job, start_process, without_plan, write_contacts

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
        results = SweepResults(directory)
        with _workers(processes, executor) as workers:
            _plan_missing(prepared, results, workers, on_progress)
        rows = results.rows(prepared.cases)
        write_rows(directory, rows)
    return rows


def _plan_missing(
    prepared: Prepared, results: SweepResults, workers: Executor | None, on_progress: Progress
) -> None:
    # Each once, and those of one contact plan one after the other: a process keeps it.
    jobs = {case.job.identity: case.job for case in prepared.cases if case.job.identity not in results}
    ordered = sorted(jobs.values(), key=lambda job: str(job.contacts))
    missing = [path for path in dict.fromkeys(job.contacts for job in ordered) if not path.exists()]
    count = 0

    def has_contacts(outcome: tuple[Path, str]) -> None:
        nonlocal count
        count += 1
        path, reason = outcome
        for job in [job for job in ordered if job.contacts == path] if reason else []:
            results.add(without_plan(job, reason))
        on_progress("contact plans", count, len(missing))

    _each(workers, write_contacts, [(prepared.contacts[path], path) for path in missing], has_contacts)
    rest = [job for job in ordered if job.identity not in results]
    done, total = len(prepared.cases) - len(rest), len(prepared.cases)
    on_progress("cases", done, total)

    def is_planned(outcome: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        results.add(outcome)
        on_progress("cases", done, total)

    _each(workers, plan_job, [(job,) for job in rest], is_planned)


def _each(
    workers: Executor | None,
    call: Callable[..., Any],
    arguments: Sequence[tuple[Any, ...]],
    take: Callable[[Any], None],
) -> None:
    """Call with each of the arguments and hand on what comes back, in any order.

    What has come back when this is ended, by an error or by Ctrl-C, is handed on, too.
    """
    if workers is None:
        for given in arguments:
            take(call(*given))
        return
    left = {workers.submit(call, *given) for given in arguments}
    try:
        for future in as_completed(tuple(left)):
            left.discard(future)
            take(future.result())
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process of the sweep was killed, by the system if memory ran out; the same command resumes with the rest"
        ) from error
    finally:
        for future in left:
            if not future.cancel() and future.done() and future.exception() is None:
                take(future.result())


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
