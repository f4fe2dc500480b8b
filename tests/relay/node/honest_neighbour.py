"""A well-behaved neighbour in a process of its own: sends when told, says how long it took.

`python honest_neighbour.py ADDRESS CERTIFICATES VICTIM NAME` reads `fresh` (over a new connection) or `held` (over the
one that it keeps) from standard input, and answers each with a line: seconds, or what went wrong.
"""

import sys
import time
from pathlib import Path

import grpc
import numpy as np

from relay.client.message_link import dial
from relay.wire import service
from relay.wire import wire_pb2 as pb
from relay.wire.frames import chunks, encode_transfer_header
from relay.wire.identity import NodeIdentity
from relay.wire.manifest import Limits, Manifest, MessageKind

LIMITS = Limits()
TRANSFERS = 6
VALUES = np.random.default_rng(1).standard_normal(1 << 18).astype("<f4").tobytes()  # 1 MiB
WAIT_S = 60.0


def manifest_of(source, destination, step):
    return Manifest.describe(
        VALUES,
        run="honest",
        kind=MessageKind.FEATURES,
        source=source,
        destination=destination,
        dtype="float32",
        shape=(len(VALUES) // 4,),
        step=step,
    )


def main(address, folder, victim, name):
    identity = NodeIdentity.load(Path(folder))
    held = dial(address, victim, identity, LIMITS)
    step = 0
    for line in sys.stdin:
        order = line.strip()
        signed = []
        for _ in range(TRANSFERS):
            manifest = manifest_of(name, victim, step)
            step += 1
            frames = [
                encode_transfer_header(identity.sign(manifest)),
                *chunks(manifest.transfer_id, VALUES, 256 << 10),
            ]
            signed.append((manifest, frames))
        channel = held if order == "held" else dial(address, victim, identity, LIMITS)
        put = channel.stream_stream(
            service.path(service.PUT), response_deserializer=pb.Acknowledgement.FromString
        )
        cancel = channel.unary_unary(
            service.path(service.CANCEL),
            request_serializer=pb.TransferId.SerializeToString,
            response_deserializer=pb.Nothing.FromString,
        )
        try:
            began_s = time.perf_counter()
            for manifest, frames in signed:
                call = put(iter(frames), timeout=WAIT_S, wait_for_ready=True)
                answers = list(call)
                assert answers, "no answer"
                assert not answers[-1].HasField("refusal"), answers[-1].refusal.text
                assert answers[-1].next_offset == manifest.total_bytes, answers[-1]
            took_s = time.perf_counter() - began_s
            for manifest, _ in signed:  # so that the spool does not fill
                cancel(pb.TransferId(transfer_id=manifest.transfer_id), timeout=WAIT_S)
            print(took_s, flush=True)
        except (grpc.RpcError, AssertionError) as error:
            print("failed: " + " ".join(repr(error).split()), flush=True)
        if channel is not held:
            channel.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
