# ruff: noqa: E402 – the environment is set before torch is loaded
"""What several tests stand on: real data where it is present, and Flower's Grid inside this process."""

from __future__ import annotations

import gc
import os
import sys

# Nothing that is imported is ever garbage: it is not looked through for any, neither now nor between tests.
gc.disable()

# Before torch and NumPy are loaded, here and in every process that a test starts: one core each, for several of these
# processes share the machine, and threads that wait for each other spin; and each finds our modules compiled.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import ast
import hashlib
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.app.error import Error
from flwr.clientapp import ClientApp
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import settings
from numpy.typing import NDArray

from strategies.bound.lower_bound import RoundBounds
from strategies.planner.round_planner import plan_round
from strategies.problem.plan import Plan
from strategies.problem.planning_problem import PlanningProblem
from strategies.problem.workload import StrategyConfig

NODE_0 = 1000
_PARSING = threading.Lock()
_parse = ast.parse


def _parse_alone(*args: Any, **kwargs: Any) -> Any:
    with _PARSING:
        return _parse(*args, **kwargs)


# NumPy parses the header of every array that Flower unpacks. CPython 3.11 counts the depth of syntax trees for all
# threads together ("AST constructor recursion depth mismatch"); satellites are threads here, processes elsewhere.
ast.parse = _parse_alone
settings.register_profile("a busy machine's", deadline=None)  # how long a test takes proves nothing
settings.load_profile("a busy machine's")


def pytest_collection_finish() -> None:
    """Look for garbage from now on, in what tests make, and not after every few hundred objects of theirs."""
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with real runs: two of them at once would share the cores, and one at the end would keep a core waiting."""
    items.sort(key=lambda item: item.get_closest_marker("flower") is None)


class InProcessGrid(Grid):
    """Flower's Grid with the ClientApp called directly, in so many threads.

    Everything is the product's but the transport of messages: contexts live as long as the grid, as on a SuperNode,
    and an exception of the ClientApp comes back as an error message.
    """

    def __init__(self, app: ClientApp, nodes: int, max_concurrency: int) -> None:
        self._app = app
        TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
        self._contexts = {
            NODE_0 + i: Context(1, NODE_0 + i, {"partition-id": i, "num-partitions": nodes}, RecordDict(), {})
            for i in range(nodes)
        }
        self._pool = ThreadPoolExecutor(max_concurrency)
        self._replies: dict[str, Future[Message]] = {}
        self.registered: dict[int, str] = {}  # names of nodes, where Flower was told any
        self.handled: deque[tuple[int, str]] = deque()

    def set_run(self, run: object) -> None: ...

    @property
    def run(self) -> object:
        return None

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=self.registered.get(node)) for node in self._contexts]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            identifiers.append(message.metadata.message_id)
            self._replies[message.metadata.message_id] = self._pool.submit(self._answer, message)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        done = [key for key in message_ids if key in self._replies and self._replies[key].done()]
        return [self._replies.pop(key).result() for key in done]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return [self._replies.pop(key).result(timeout) for key in self.push_messages(messages)]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        self.handled.append((node, message.metadata.message_type))
        try:
            reply = self._app(message, self._contexts[node])
        except Exception as error:
            reply = Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=message)
        reply.metadata.__dict__["_src_node_id"] = node
        return reply


@pytest.fixture(scope="session")
def grid_of() -> Callable[[int, int], InProcessGrid]:
    """``grid_of(nodes, max_concurrency)``: a Grid of the product's ClientApp."""
    from client_app.client_app import app

    return lambda nodes, max_concurrency: InProcessGrid(app, nodes, max_concurrency)


@pytest.fixture(scope="session", autouse=True)
def _bound_once() -> Iterator[None]:
    """The lower bound, which is a function of the problem and of the links allowed, takes most of the time of a small
    plan: a problem that is planned with several strategies is bounded once."""
    lower_bound_s, known_s = RoundBounds.lower_bound_s, dict[bytes, float]()

    def bounded(bounds: RoundBounds, group: NDArray[Any]) -> float:
        key = hashlib.sha256(pickle.dumps((bounds.problem, group))).digest()
        if key not in known_s:
            known_s[key] = lower_bound_s(bounds, group)
        return known_s[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RoundBounds, "lower_bound_s", bounded)
        yield


@pytest.fixture(scope="session")
def plan_once() -> Callable[[PlanningProblem, StrategyConfig], Plan]:
    """The planner, which is a function of the problem: a problem that a mission of this process had is not planned
    again."""
    plans: dict[bytes, bytes] = {}

    def planned(problem: PlanningProblem, strategy_config: StrategyConfig) -> Plan:
        key = hashlib.sha256(pickle.dumps((problem, strategy_config))).digest()
        if key not in plans:
            plans[key] = pickle.dumps(plan_round(problem, strategy_config))
        return pickle.loads(plans[key])

    return planned


@pytest.fixture(scope="session")
def bare(
    plan_once: Callable[[PlanningProblem, StrategyConfig], Plan],
) -> Callable[[], AbstractContextManager[None]]:
    """Of a run in this process, leave out its page and peft's card, which cost as much as a round and have tests, and
    the plans that another one had."""

    @contextmanager
    def patched() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("strategies.planner.checked_plan.plan_round", plan_once)
            patch.setattr("server_app.results.run_recorder.write_report", lambda directory: None)
            patch.setattr("peft.PeftModel.create_or_update_model_card", lambda model, directory: None)
            yield

    return patched


@pytest.fixture
def bare_run(bare: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Runs of this test are without page and card."""
    with bare():
        yield


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands plan small comparisons in this process: another one takes longer to start than they do."""
    monkeypatch.setattr("skysplit.commands.comparisons.os.cpu_count", lambda: 1)


@pytest.fixture
def headline_cases(monkeypatch: pytest.MonkeyPatch, one_process: None) -> None:
    """Comparisons plan the cases that the answer lies between alone; test_compare_and_numbers.py plans every one."""
    from skysplit import planning_inputs
    from strategies.analysis.cases import headline_of

    every = planning_inputs.cases_of

    def few(*args: Any, **kwargs: Any) -> tuple[Any, ...]:
        cases = every(*args, **kwargs)
        return tuple(case for case in cases if case.name in headline_of(cases))

    monkeypatch.setattr(planning_inputs, "cases_of", few)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images, models and orbits; the test is skipped where they are absent."""
    named = os.environ.get("SKYSPLIT_DATA", "")
    if not named or not Path(named).is_dir():
        pytest.skip("SKYSPLIT_DATA names no folder with real data")
    return Path(named)
