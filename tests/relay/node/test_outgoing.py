"""A link that is stopped while its session is ending."""

import asyncio
from types import SimpleNamespace

from relay.clock.paced_clock import PacedClock
from relay.clock.timed_link import LinkSchedule, Window
from relay.node.outgoing import Faults, Outbox, OutgoingLink
from relay.spool.spool import Quota, Spool
from relay.wire import wire_pb2 as pb
from relay.wire.manifest import Limits
from tests.relay.conftest import tensor


class ClosingCall:
    """A stream that the neighbour ends as soon as something is written, and whose writer takes a while to stop."""

    def __init__(self):
        self.ended, self.stopping = asyncio.Event(), asyncio.Event()

    async def wait_for_connection(self):
        pass

    async def write(self, frame):
        self.ended.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.stopping.set()
            await asyncio.Event().wait()

    def __aiter__(self):
        return self

    async def __anext__(self):
        await self.ended.wait()
        raise StopAsyncIteration

    def cancel(self):
        pass


async def test_what_a_session_had_sent_is_sent_again_where_it_is_stopped_while_it_ends(tmp_path):
    call = ClosingCall()
    quota = Quota(1 << 20, 10)
    spool = Spool(tmp_path, quota=quota, sender_quota=quota, limits=Limits())
    manifest, payload = tensor([1.0], "sat", "ground")
    signed = pb.SignedManifest(manifest=manifest.to_bytes())
    entry = spool.open(signed, manifest, via=("sat",))
    spool.append(entry, 0, payload)
    stub = SimpleNamespace(
        stream_stream=lambda *args, **kwargs: lambda **kwargs: call, unary_unary=lambda *args, **kwargs: None
    )
    outbox = Outbox(lambda: [entry], passed=lambda *args: None, done=lambda *args: None, changed=lambda: None)
    link = OutgoingLink(
        "sat", "ground", channel=stub, clock=PacedClock(), spool=spool, limits=Limits(), outbox=outbox, faults=Faults()
    )  # fmt: skip
    link.schedule = LinkSchedule((Window(0.0, 1e5, rate_bps=1e9, owlt_s=0.0),))
    serving = asyncio.create_task(link.run())
    await asyncio.wait_for(call.stopping.wait(), 30)  # the session is over, and waits for its writer
    assert link.in_flight_bytes == len(payload)
    serving.cancel()  # a round starts, or the relay stops
    await asyncio.wait([serving], timeout=60)
    assert link.in_flight_bytes == 0
    spool.close()
