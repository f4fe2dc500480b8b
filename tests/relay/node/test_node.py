import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from relay.client.message_link import BundleLink, LinkRefused, LinkTimeout, RemoteError
from relay.clock.timed_link import Window
from relay.node.relay_node import RelayError
from relay.node.settings import RelaySettings
from relay.wire.manifest import MessageKind


def values(bundle):
    return np.frombuffer(bundle.payload, "<f4").tolist()


def test_a_bundle_goes_over_three_hops_and_arrives_once(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "sat-1"), ("sat-1", "sat-2"), ("sat-2", "ground")))
    data = np.arange(300_000, dtype="<f4")
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        assert isinstance(satellite, BundleLink)
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
        bundle = ground.receive(60)
        assert values(bundle) == data.tolist()
        ground.send(*fleet.tensor([1.0], "ground", "sat-0", kind=MessageKind.HIDDEN))
        assert values(satellite.receive(60)) == [1.0]
    for name in ("sat-0", "sat-1", "sat-2", "ground"):
        assert relays.until(name, lambda status: status.queued_transfers == 0)
    assert relays.status("ground").delivered_transfers == 1


def test_the_same_transfer_sent_again_is_delivered_once(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    bundle = fleet.tensor([1.0, 2.0], "sat-0", "ground")
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*bundle)
        assert values(ground.receive(60)) == [1.0, 2.0]
        ground.acknowledge()
        relays.until("ground", lambda status: status.delivered_transfers == 1)
        satellite.send(*bundle)
        relays.until("sat-0", lambda status: status.queued_transfers == 0)
        with pytest.raises(LinkTimeout):
            ground.receive(0.3)


def test_what_was_not_settled_is_given_to_the_next_application(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground"))

    class Crash(Exception):
        pass

    def crash():
        with relays.link("ground") as ground:
            assert values(ground.receive(60)) == [1.0]
            raise Crash

    with pytest.raises(Crash):
        crash()
    with relays.link("ground") as ground:
        assert values(ground.receive(60)) == [1.0]
    with relays.link("ground") as ground, pytest.raises(LinkTimeout):
        ground.receive(0.3)


def test_urgent_bundles_overtake_features(fleet):
    slow = (Window(0.0, 1e5, rate_bps=4e6, owlt_s=0.0),)
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=slow))
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        for step in range(2):
            satellite.send(*fleet.tensor(np.zeros(50_000), "sat-0", "ground", step=step))  # 0.4 s each
        satellite.send(*fleet.tensor(np.ones(1000), "sat-0", "ground", kind=MessageKind.GRAD_HIDDEN))
        kinds = [ground.receive(60).manifest.kind for _ in range(3)]
    assert kinds.index(MessageKind.GRAD_HIDDEN) < 2


def test_features_go_in_the_order_in_which_the_ground_takes_them(fleet):
    relays = fleet({("sat-0", "ground"): (Window(2.0, 1e5, rate_bps=4e6, owlt_s=0.0),)})
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        for turn in (7, 0, 300, 2):  # wait for the link
            satellite.send(*fleet.tensor([float(turn)], "sat-0", "ground", step=turn, turn=turn))
        assert [ground.receive(60).manifest.turn for _ in range(4)] == [0, 2, 7, 300]


def test_nan_is_refused_by_the_satellites_own_relay(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    with relays.link("sat-0") as satellite:
        with pytest.raises(LinkRefused, match="NaN"):
            satellite.send(*fleet.tensor([1.0, np.nan], "sat-0", "ground"))
        with pytest.raises(LinkRefused, match="not nodes of this mission"):
            satellite.send(*fleet.tensor([1.0], "sat-0", "nowhere"))
        with pytest.raises(LinkRefused, match="in the name of ground"):
            satellite.send(*fleet.tensor([1.0], "ground", "ground"))


def test_a_full_spool_holds_the_sender_back_and_loses_nothing(fleet):
    slow = (Window(0.0, 1e5, rate_bps=8e6, owlt_s=0.0),)
    relays = fleet(
        fleet.both_ways(("sat-0", "ground"), windows=slow), quota_bytes=500_000, neighbour_quota_bytes=500_000
    )
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        for step in range(4):  # 200 kB each: no more than two fit
            satellite.send(*fleet.tensor(np.full(50_000, step), "sat-0", "ground", step=step))
            assert relays.status("sat-0").queued_bytes <= 500_000
        seen = []
        for _ in range(4):
            seen.append(values(ground.receive(60))[0])
            ground.acknowledge()
    assert sorted(seen) == [0.0, 1.0, 2.0, 3.0]
    with relays.link("sat-0", send_timeout_s=60) as satellite, pytest.raises(LinkRefused, match="never hold"):
        satellite.send(*fleet.tensor(np.zeros(200_000), "sat-0", "ground"))


def test_an_expired_transfer_is_told_to_its_sender(fleet):
    relays = fleet({("sat-0", "ground"): (Window(1e3, 2e3, rate_bps=1e9, owlt_s=0.0),)})
    with relays.link("sat-0") as satellite:
        satellite.send(*fleet.tensor([1.0], "sat-0", "ground", expiry_s=0.5))
        with pytest.raises(RemoteError, match="Expired"):
            satellite.receive(60)


def test_a_link_carries_nothing_before_its_window_and_goes_on_in_the_next(fleet):
    windows = (Window(0.5, 0.9, rate_bps=8e6, owlt_s=0.01), Window(1.6, 90.0, rate_bps=8e6, owlt_s=0.01))
    relays = fleet(fleet.both_ways(("sat-0", "ground"), windows=windows))
    data = np.arange(150_000, dtype="<f4")  # 600 kB: 0.4 s of the first window, 0.2 s of the second
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor(data, "sat-0", "ground"))
        bundle = ground.receive(60)
        arrived_s = relays.clocks[
            "sat-0"
        ].now_s  # whose windows and pace it is; the other clock started later
        assert values(bundle) == data.tolist()
    assert arrived_s >= 1.8
    status = relays.status("sat-0")
    assert status.links[0].sent_bytes <= 1.1 * 600_000


def test_a_transfer_takes_the_other_gateway_when_the_first_one_dies(fleet):
    late = (Window(0.0, 1e5, rate_bps=4e6, owlt_s=0.0),)
    links = fleet.both_ways(("sat-0", "sat-1"), ("sat-0", "sat-2"), ("sat-1", "ground"))
    relays = fleet({**links, **fleet.both_ways(("sat-2", "ground"), windows=late)})
    relays.stop("sat-1")
    with relays.link("sat-0") as satellite, relays.link("ground") as ground:
        satellite.send(*fleet.tensor([3.0], "sat-0", "ground"))
        assert values(ground.receive(60)) == [3.0]
    assert "sat-1" in [link.peer for link in relays.status("sat-0").links if link.last_error]


def test_a_port_in_use_is_a_clear_error(fleet, tmp_path):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    with pytest.raises(RelayError, match=r"relay sat-0 cannot listen on .*: the port is in use"):
        relays.start("sat-0", folder=tmp_path / "other")


def test_a_relay_needs_an_address_for_every_neighbour(fleet, tmp_path):
    network = fleet.network_of(fleet.both_ways(("sat-0", "ground")))
    with pytest.raises(ValueError, match="relay sat-0: no address for its neighbours ground"):
        RelaySettings("sat-0", network, peers={}, folder=tmp_path)
    with pytest.raises(ValueError, match="'sat-9' is not a node"):
        RelaySettings("sat-9", network, peers={}, folder=tmp_path)
    with pytest.raises(ValueError, match="time authority sat-7"):
        RelaySettings(
            "sat-0", network, peers={"ground": "127.0.0.1:1"}, folder=tmp_path, time_authority="sat-7"
        )


def test_a_relay_says_that_it_is_healthy(fleet):
    relays = fleet(fleet.both_ways(("sat-0", "ground")))
    with grpc.insecure_channel(relays.addresses["ground"]) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
