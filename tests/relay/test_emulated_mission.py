"""A whole mission over relays, in this process: it ends with the weights of the simulated run."""

import contextlib
import itertools
import json
import threading
import time
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from flwr.app import Message
from flwr.app.error import Error
from flwr.common.constant import ErrorCode
from safetensors.torch import load_file

from client_app.exchange import plane_exchange
from client_app.exchange.plane_exchange import PlaneExchange
from mission.orbits import constellation_of, contact_plan_of
from mission.record import RunRecord, read_run
from mission.run_config import GROUND
from mission.scenario import load_scenario
from relay.client.control import status
from relay.client.message_link import LinkTimeout
from relay.client.relay_link import RelayLink
from relay.clock.paced_clock import PacedClock
from relay.node.outgoing import Faults, Outage, OutgoingLink
from relay.node.pre_launch import START_S, pre_launch_network
from relay.node.settings import LocalRelay
from relay.wire.manifest import MessageKind
from server_app.planning.uncertainty import drawn_outages_of
from server_app.results.run_recorder import RunRecorder
from server_app.run import ServerRun
from server_app.server_app import fine_tune
from splitmodel.lora.adapters import trainable_state
from strategies.aggregation.client_updates import Averaging, ClientUpdate

SMALL = {
    "constellation.satellites": 4,
    "constellation.train_spacing_deg": 20.0,
    "links.sgl.down_mbps": 100.0,
    "links.sgl.up_mbps": 50.0,
    "links.intra_orbit.mbps": 200.0,
    "data.train_samples": 96,
    "data.test_samples": 16,
    "data.alpha": 5.0,
    "training.rounds": 2,
    "training.batch_size": 8,
    "crossings.features": "fp32",
    "crossings.hidden": "fp32",
    "crossings.gradients": "fp32",
    # Slow enough to take a part of the mission's time.
    "compute.satellite_tflops": 0.01,
    "compute.ground_tflops": 0.05,
    "compute.message_s": 0.002,
}


def dying(last):
    """Of `RunRecorder.on_round`: the ground's process dies when it has recorded this round."""
    on_round = RunRecorder.on_round

    def record_and_die(results, outcome):
        on_round(results, outcome)
        if outcome.number == last:
            raise RuntimeError("the ground is gone")

    return record_and_die


def dying_grid(grid, gone):
    """Of the `pull_messages` of a grid: the ground's process dies when `gone` is set."""
    pull_messages = grid.pull_messages

    def pull_or_die(ids):
        if gone.is_set():
            raise RuntimeError("the ground is gone")
        return pull_messages(ids)

    return pull_or_die


MOMENT_S = 0.02
PROBE_S = 0.08  # slower than the fleet's default: of a mission's CPU time a third went into probes


@pytest.fixture
def emulate(fleet, grid_of, tmp_path, monkeypatch, bare_run):
    """Fly a mission over relays and return its run directory; `during` may do something to them meanwhile.

    At the wall's pace, unless it is None: then at that which makes little of what software takes.
    """

    def fly(
        overrides=None,
        *,
        pace=1.0,
        during=None,
        ends_after=None,
        ends_when=None,
        app=lambda app: app,
        **settings,
    ):
        monkeypatch.setattr("relay.clock.paced_clock.PROBE_S", PROBE_S)
        if pace is not None:
            monkeypatch.setattr("server_app.emulated_clock.pace_of", lambda *_: pace)
        scenario = load_scenario("walker-12", SMALL | (overrides or {}))
        satellites = constellation_of(scenario).names
        links = {link: plan.windows for link, plan in pre_launch_network(satellites, GROUND).links.items()}
        clocks = {name: PacedClock(START_S) for name in (*satellites, GROUND)}
        relays = fleet(links, time_authority=GROUND, clocks=clocks, **settings)
        grid = grid_of(len(satellites), len(satellites))
        grid._app = app(grid._app)
        for context, name in zip(grid._contexts.values(), satellites, strict=True):
            file = tmp_path / f"{name}.json"
            config = {
                "name": name,
                "network": "-",
                "peers": {},
                "folder": str(relays.folder / name),
                "port": 0,
            }
            file.write_text(json.dumps(config))
            context.node_config["relay"] = str(file)
        record = RunRecord(tmp_path / "emulated", scenario, command="")
        ground = LocalRelay(
            GROUND,
            relays.nodes[GROUND].local_address,
            identity=None,
            folder=relays.folder / GROUND,
            peers=relays.addresses,
        )
        meanwhile = threading.Thread(target=during or (lambda relays: None), args=(relays,))
        meanwhile.start()
        if ends_after is None and ends_when is None:
            fine_tune(grid, ServerRun(record, "run-1", relay=ground))
        else:
            with monkeypatch.context() as patch:
                patch.setattr(RunRecorder, "on_round", dying(ends_after))
                patch.setattr(grid, "pull_messages", dying_grid(grid, ends_when or threading.Event()))
                with pytest.raises(RuntimeError, match="the ground is gone"):
                    fine_tune(grid, ServerRun(record, "run-1", relay=ground))
            record = RunRecord.reopen(record.directory)
            fine_tune(grid, ServerRun(record, "run-2", relay=ground, resume=True))
        meanwhile.join()
        return record.directory

    return fly


@pytest.fixture(scope="module")
def simulate(grid_of, bare, tmp_path_factory):
    """The same mission simulated, once for all tests of these overrides."""
    folder, flown = tmp_path_factory.mktemp("simulated"), {}

    def fly(overrides=None):
        settings = SMALL | (overrides or {})
        key = repr(sorted(settings.items()))
        if key not in flown:
            record = RunRecord(folder / str(len(flown)), load_scenario("walker-12", settings), command="")
            with bare():
                fine_tune(grid_of(4, 4), ServerRun(record, "run-1"))
            flown[key] = record.directory
        return flown[key]

    return fly


@pytest.fixture
def averages(monkeypatch):
    """Of every round that is averaged from now on: whether it is so of the plane's sum, satellite by satellite.

    Whatever the satellites summed, the average has the bits of that of their own weights, which the ground never saw.
    """
    own, found = {}, []
    form_sum, mean = PlaneExchange.sum, Averaging.mean

    def note_own(exchange, parts, link, satellite, **config):
        own[satellite] = {name: tensor.numpy() for name, tensor in trainable_state(parts).items()}
        return form_sum(exchange, parts, link, satellite, **config)

    def check(averaging, current, delivered, number, planes):
        result = mean(averaging, current, delivered, number, planes)
        if own:  # else it is simulated, or no satellite is told to sum
            alone = {name: ClientUpdate(number, own[name], report={}) for name in delivered}
            expected = mean(averaging, current, alone, number, planes)
            assert all(result[key].tobytes() == expected[key].tobytes() for key in expected)
            found.append({name: one.plane_sum is not None for name, one in delivered.items()})
            own.clear()
        return result

    monkeypatch.setattr(PlaneExchange, "sum", note_own)
    monkeypatch.setattr(Averaging, "mean", check)
    return found


def weights(directory):
    files = sorted((directory / "final").rglob("*.safetensors"))  # the head, and in mode lora the adapter
    return {f"{file.stem} {key}": tensor for file in files for key, tensor in load_file(file).items()}


def assert_same_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    # The same sums in the same order on the same machine: what may differ is how torch shares them out over cores.
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-7)


@pytest.fixture
def on_the_links(monkeypatch):
    """Bytes of all frames that relays send in the rounds, by round, direction and kind.

    On a machine that stalls for longer than an acknowledgement may take, a stream breaks, and some bytes go twice, by
    the same link or by another gateway's; what the ground or a satellite has been sent before is not counted.
    """
    found = Counter()
    furthest = {}  # offset to which a transfer has been sent over a hop
    lock = threading.Lock()
    make = OutgoingLink._frames

    def counted(link, sending, size, *, ask):
        begin = sending.sent
        frames = make(link, sending, size, ask=ask)
        manifest = sending.entry.manifest
        way = {link.node: "uplink", link.peer: "downlink"}.get(GROUND, "isl")
        kind = manifest.kind if manifest.kind is not MessageKind.AGGREGATE or manifest.step == 0 else None
        hop = (way, manifest.transfer_id) if way != "isl" else (link.node, link.peer, manifest.transfer_id)
        with lock:
            before = furthest.get(hop, -1)
            if begin + size > before:
                furthest[hop] = begin + size
                found[manifest.round, way, kind] += sum(map(len, frames)) - max(0, before - begin)
        return frames

    monkeypatch.setattr(OutgoingLink, "_frames", counted)
    return found


def assert_sent_as_planned(directory, on_the_links):
    planned = Counter()
    for row in map(json.loads, (directory / "plan.jsonl").read_text().splitlines()):
        weights = row["kind"] in ("reduce", "update")
        planned[row["round"], row["link"].replace("intra_", ""), row["kind"] if weights else ""] += row[
            "bytes"
        ]
    for number, way in itertools.product((1, 2), ("downlink", "uplink")):
        passed = sum(size for key, size in on_the_links.items() if key[:2] == (number, way))
        assert planned[number, way, ""] == pytest.approx(passed, rel=0.02), (number, way)
    for number in (1, 2):  # half of the sum's way; see docs/conformance.md
        passed = on_the_links[number, "isl", MessageKind.AGGREGATE]
        assert planned[number, "isl", "reduce"] == pytest.approx(passed, rel=0.02)


def test_an_emulated_mission_ends_with_the_weights_of_the_simulated_one(
    emulate, simulate, averages, on_the_links
):
    emulated = emulate(pace=None)
    assert_sent_as_planned(emulated, on_the_links)
    names = constellation_of(load_scenario("walker-12", SMALL)).names
    assert averages == [dict.fromkeys(names, True)] * 2
    simulated = simulate()
    assert_same_weights(emulated, simulated)
    assert len(averages) == 2
    flown, planned = (pq.read_table(path / "rounds.parquet").to_pylist() for path in (emulated, simulated))
    enrolment = read_run(emulated)["enrolment"]
    assert not enrolment["flown"]
    assert 0.0 < enrolment["end_s"] <= flown[0]["start_s"]
    head = sum(tensor.numel() for tensor in load_file(simulated / "final" / "head.safetensors").values())
    for row, plan in zip(flown, planned, strict=True):
        assert plan["measured_start_s"] is None
        assert plan["measured_end_s"] is None
        sizes = {key for key in row if key.endswith(("_s", "_bytes"))}
        with_sums = {"downlink_bytes", "isl_bytes"}
        for keys, same in (
            (row.keys() - sizes, {}),
            (sizes - with_sums - {"measured_start_s", "measured_end_s"}, {"rel": 0.05, "abs": 0.05}),
        ):
            assert {key: row[key] for key in keys} == pytest.approx({key: plan[key] for key in keys}, **same)
        # Sums of planes cross with 8 bytes a value, weights by themselves with 4; chunks are smaller over relays.
        for key in with_sums:
            assert 0.95 * plan[key] <= row[key] <= 1.05 * plan[key] + 4 * head
        assert row["start_s"] <= row["measured_start_s"] < row["measured_end_s"] < row["end_s"] + 5.0
    for number in (1, 2):
        rows = [row for row in flown if row["round"] == number]
        start_s = rows[0]["start_s"]
        planned_s = max(row["end_s"] for row in rows) - start_s
        measured_s = max(row["measured_end_s"] - row["measured_start_s"] for row in rows)
        assert 0.95 * planned_s <= measured_s <= 1.25 * planned_s  # within 10 % where nothing else runs
    assert not (simulated / "transfer_records.parquet").exists()
    transfer_records = pq.read_table(emulated / "transfer_records.parquet").to_pylist()
    between = [row for row in transfer_records if row["kind"] == "aggregate"]
    transfer_records = [row for row in transfer_records if row["node"] == GROUND]
    for row in flown:
        of_satellite = [
            p for p in transfer_records if (p["round"], p["satellite"]) == (row["round"], row["satellite"])
        ]
        for link, size in (("downlink", "split_up_bytes"), ("uplink", "split_down_bytes")):
            assert sum(p["bytes"] for p in of_satellite if p["link"] == link) == row[size]
        # Its first may wait for the others.
        assert row["start_s"] <= min(p["start_s"] for p in of_satellite) + MOMENT_S
        assert all(p["start_s"] <= p["end_s"] < row["measured_end_s"] + 5.0 for p in of_satellite)
        assert {p["step"] for p in of_satellite} == set(range(row["steps"]))
    # Planes of two: one sends its part, the other the sum, over the link that the plan has it reduced on.
    reduced = [
        row
        for row in map(json.loads, (emulated / "plan.jsonl").read_text().splitlines())
        if row["kind"] == "reduce" and row["link"] == "intra_isl"
    ]
    done_s = {(row["round"], row["satellite"]): row["measured_end_s"] for row in flown}
    for number, (first, second) in itertools.product((1, 2), (names[:2], names[2:])):
        rows = [row for row in between if row["round"] == number and row["peer"] in (first, second)]
        assert [(row["step"], row["peer"], row["node"], row["link"]) for row in rows] == [
            (1, second, first, "intra_isl"),
            (0, first, second, "intra_isl"),
        ]
        [planned] = [
            row for row in reduced if row["round"] == number and {row["node"], row["peer"]} == {first, second}
        ]
        spread, gather = rows
        # Clocks that begin to stand are set to where the others stand, a moment back.
        assert done_s[number, first] <= gather["start_s"] + MOMENT_S
        assert gather["start_s"] <= gather["end_s"] <= spread["start_s"] + MOMENT_S
        assert done_s[number, second] <= spread["start_s"] + MOMENT_S
        assert spread["end_s"] == pytest.approx(planned["end_s"], abs=5.0)


@pytest.mark.slow  # in mode lora in the first test; in mode head without relays in test_plan_against_wire.py
def test_bytes_planned_over_links_are_bytes_that_relays_send_in_mode_head_as_in_lora(emulate, on_the_links):
    directory = emulate({"training.mode": "head"})
    assert_sent_as_planned(directory, on_the_links)


def test_images_that_arrive_are_trained_on_as_in_the_simulated_mission(emulate, simulate):
    arriving = {"imaging.images_per_min": 0.2, "imaging.lowest_sun_deg": -90.0, "imaging.on_board": 2}
    emulated = emulate(arriving)
    simulated = simulate(arriving)
    assert_same_weights(emulated, simulated)
    flown, planned = (pq.read_table(path / "rounds.parquet").to_pylist() for path in (emulated, simulated))
    assert [row["samples"] for row in flown] == [row["samples"] for row in planned]
    assert all(2 < row["samples"] < 24 for row in flown)


STORMY = {
    "uncertainty.station_outage": 0.3,
    "uncertainty.station_outage_h": 0.1,
    "uncertainty.isl_outage": 0.1,
    "uncertainty.isl_outage_min": 1.0,
}


def test_rounds_through_outages_are_planned_anew_as_in_the_simulated_mission_and_nothing_crosses_what_is_out(
    emulate, simulate
):
    emulated, simulated = emulate(STORMY), simulate(STORMY)
    assert_same_weights(emulated, simulated)
    scenario = load_scenario("walker-12", SMALL | STORMY)
    contacts = contact_plan_of(scenario, constellation_of(scenario))
    model = drawn_outages_of(scenario)
    open_then = model.draw(contacts, 0).open_contacts(contacts)
    flown, planned = (pq.read_table(path / "rounds.parquet").to_pylist() for path in (emulated, simulated))
    clear = pq.read_table(simulate() / "rounds.parquet").to_pylist()
    assert flown[-1]["end_s"] == pytest.approx(planned[-1]["end_s"], abs=5.0)
    assert flown[-1]["end_s"] > clear[-1]["end_s"]
    assert read_run(emulated)["progress"]["interruptions"] == read_run(simulated)["progress"]["interruptions"]
    nodes = {node.name: index for index, node in enumerate(open_then.nodes)}
    stations, contacts = open_then.stations.tolist(), open_then.contacts
    for row in pq.read_table(emulated / "transfer_records.parquet").to_pylist():
        ends = [
            own
            for name in (row["node"], row["peer"])
            for own in ([nodes[name]] if name in nodes else stations)
        ]
        of_link = contacts[np.isin(contacts["source"], ends) & np.isin(contacts["target"], ends)]
        # The last chunk arrives a light time after it has left.
        arrives = (of_link["start_s"] <= row["end_s"]) & (row["end_s"] <= of_link["end_s"] + 2.0 * MOMENT_S)
        assert arrives.any(), row


def test_steps_that_an_outage_and_a_dead_gateway_cut_go_on_with_the_same_result(emulate, simulate):
    """A plane's links to the ground go down in the first steps of the first session, and its relays restart.

    That session begins soon after 1726.76 s, when the last plane has been enrolled by plan.
    """
    names = constellation_of(load_scenario("walker-12", SMALL)).names
    cut = [Outage(*link, 1726.85, 1728.3) for name in names[:2] for link in ((name, GROUND), (GROUND, name))]

    def restart_a_gateway(relays):
        deadline = time.monotonic() + 60
        while status(relays.addresses[names[0]], names[0]).mission_s < 1727.0:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for name in names[:2]:
            relays.stop(name)
            relays.start(name)

    emulated = emulate(faults=Faults(outages=tuple(cut)), during=restart_a_gateway)
    assert_same_weights(emulated, simulate())
    first = pq.read_table(emulated / "rounds.parquet").to_pylist()[0]
    assert first["measured_end_s"] > 1728.3


class Killed(BaseException):
    """`kill -9`, to a process that is a thread here."""


def dying_link(when, *, before_it_goes=False):
    """A satellite's link to its relay that kills the process once, after (or before) sending what `when` names."""

    class DyingLink(RelayLink):
        def send(self, manifest, payload):
            dies = True
            try:
                when.remove((manifest.kind, manifest.round, manifest.step))  # by one of them only
            except ValueError:
                dies = False
            if not (dies and before_it_goes):
                super().send(manifest, payload)
            if dies:
                raise Killed

        def __exit__(self, kind, error, trace):
            if kind is not Killed:
                return super().__exit__(kind, error, trace)
            self._incoming.close()  # as a dead process leaves it: nothing settled, no last word
            self._channel.close()
            return None

    return DyingLink


def forgetting(app):
    """A SuperNode that is killed with its ClientApp: another one takes over, and what was in memory is gone."""

    def answer(message, context):
        try:
            return app(message, context)
        except Killed:
            context.state.clear()
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "gone"), reply_to=message)

    return answer


@pytest.mark.parametrize(
    ("mode", "sent"),
    [
        (
            "lora",
            [
                (MessageKind.SAMPLES, 1, 1),
                (MessageKind.GRAD_HIDDEN, 1, 2),
                (MessageKind.AGGREGATE, 1, 0),
                (MessageKind.GRAD_HIDDEN, 2, 1),
            ],
        ),
        # The gradient of a shared head is a message like those of the first; who is suspended takes the same steps.
        pytest.param("lora, one head", [(MessageKind.GRAD_HEAD, 1, 1)], marks=pytest.mark.slow),
        # Where one is away for longer, below, is in mode head, and killed twice.
        pytest.param(
            "head", [(MessageKind.FEATURES, 2, 0), (MessageKind.AGGREGATE, 2, 1)], marks=pytest.mark.slow
        ),
    ],
)
def test_satellites_that_are_killed_in_mid_round_go_on_with_the_same_result(
    emulate, simulate, monkeypatch, averages, mode, sent
):
    """Each after it has sent a message of this kind, round and step."""
    when = list(sent)
    monkeypatch.setattr("client_app.satellite.RelayLink", dying_link(when))
    overrides = {"training.mode": mode.partition(",")[0], "training.augment": "dihedral"}
    if mode == "lora, one head":
        overrides["training.head"] = "shared"
    emulated = emulate(overrides, app=forgetting)
    assert not when
    assert all(all(of_round.values()) for of_round in averages)
    assert_same_weights(emulated, simulate(overrides))


ONE_RING = {
    "constellation.planes": 1,
    "constellation.phasing": 0,
    "constellation.train_spacing_deg": 0.0,
    "constellation.altitude_km": 3000.0,  # four see each other all round
    "links.intra_orbit.mbps": 1.0,  # slow enough for the ring to be the sooner
    "training.mode": "head",
    "training.head_rows": "by-class",
    "training.rounds": 1,
}


def test_a_ring_that_is_cut_is_summed_the_other_way_round(emulate, simulate, averages):
    names = constellation_of(load_scenario("walker-12", SMALL | ONE_RING)).names
    cut = [Outage(*link, 0.0, 1e6) for link in (names[:2], names[1::-1])]
    emulated = emulate(ONE_RING, faults=Faults(outages=tuple(cut)))
    assert averages == [dict.fromkeys(names, True)]
    assert_same_weights(emulated, simulate(ONE_RING))
    transfer_records = pq.read_table(emulated / "transfer_records.parquet").to_pylist()
    between = [row for row in transfer_records if row["kind"] == "aggregate" and row["node"] != GROUND]
    ends = {frozenset((row["node"], row["peer"])) for row in between}
    assert ends >= {frozenset(pair) for pair in zip(names[1:], (*names[2:], names[0]), strict=True)}
    assert frozenset(names[:2]) not in ends
    # Two ways of six steps, each over three links that stand; the others take more than one, or come over the ground.
    assert sum(row["satellite"] == row["peer"] for row in between) >= 2 * 6 * 3


def test_where_one_is_away_for_longer_than_the_others_wait_the_ground_sums(
    emulate, simulate, monkeypatch, averages
):
    when = [(MessageKind.AGGREGATE, 1, 0), (MessageKind.FEATURES, 2, 0)]
    monkeypatch.setattr("client_app.satellite.RelayLink", dying_link(when, before_it_goes=True))
    gave_up, form_sum = threading.Event(), PlaneExchange.sum
    timeout_s = plane_exchange.TIMEOUT_S

    def watched(*words, **named):
        total = form_sum(*words, **named)
        if total is None:
            plane_exchange.TIMEOUT_S = timeout_s
            gave_up.set()
        return total

    monkeypatch.setattr(PlaneExchange, "sum", watched)
    monkeypatch.setattr(plane_exchange, "TIMEOUT_S", 0.5)

    def long_away(app):
        def answer(message, context):
            reply = forgetting(app)(message, context)
            if reply.has_error():
                assert gave_up.wait(60)
            return reply

        return answer

    overrides = {
        "training.mode": "head",
        "training.augment": "dihedral",
    }  # so that features cross in each round
    emulated = emulate(overrides, app=long_away)
    assert not when
    alone = {name for name, summed in averages[0].items() if not summed}
    planes = constellation_of(load_scenario("walker-12", SMALL)).names
    # The plane that waits for the one that is away; on a busy machine the other's sum may come too late as well.
    assert {*planes[:2]} <= alone or {*planes[2:]} <= alone
    assert all(averages[1].values())
    assert_same_weights(emulated, simulate(overrides))


@pytest.mark.slow  # the next test covers a ground that dies while messages are in transit
def test_a_ground_that_died_goes_on_over_the_same_relays_with_the_same_result(emulate, simulate):
    emulated = emulate(ends_after=1)
    assert_same_weights(emulated, simulate())


def test_a_ground_that_dies_in_mid_round_goes_on_over_the_same_relays_with_the_same_result(
    emulate, simulate, monkeypatch
):
    """What was under way stays in the relays, and is of no account to the next process of the ground."""
    gone = threading.Event()

    class OrphanedLink(RelayLink):
        """Sets `gone` in the second round, and ends with the SuperNodes of the run that the ground died in."""

        def send(self, manifest, payload):
            super().send(manifest, payload)
            self._run = manifest.run
            if (manifest.kind, manifest.round, manifest.step) == (MessageKind.GRAD_HIDDEN, 2, 1):
                gone.set()

        def receive(self, timeout_s):
            while not (gone.is_set() and self._run == "run-1"):
                with contextlib.suppress(LinkTimeout):
                    return super().receive(0.5)
            raise Killed

    monkeypatch.setattr("client_app.satellite.RelayLink", OrphanedLink)
    emulated = emulate(ends_when=gone, app=forgetting)
    assert_same_weights(emulated, simulate())
