"""A million hostile frames: `python -m benchmarks.wire_fuzz` (about two minutes; ends with a line of JSON).

Hypothesis draws what is mutated and how; every draw yields a thousand frames, which a relay's incoming stream and
a bundle reader take in. The only error allowed is a WireError; neither memory nor disk may exceed its limit. Fails
otherwise, with the frame in hexadecimal.
"""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from relay.node.incoming import Admission, IncomingStream
from relay.spool.spool import Quota, Spool
from relay.wire import wire_pb2 as pb
from relay.wire.certificates import write_certificates
from relay.wire.frames import BundleReader, encode_chunk, encode_failure, encode_transfer_header
from relay.wire.identity import NodeIdentity, node_folder
from relay.wire.manifest import Limits, Manifest, MessageKind, WireError

FRAMES = 1_000_000
FRAMES_PER_DRAW = 1_000
LIMITS = Limits(chunk_bytes=4096, transfer_bytes=1 << 20)
DISK_BYTES = 4 << 20
QUOTA = Quota(DISK_BYTES, 256)
MEMORY_BYTES = 64 << 20


def corpus(identity: NodeIdentity) -> list[bytes]:
    """Honest frames of every kind, which mutation starts from."""
    frames = [encode_failure("KeyError", "no such step", bytes(16)), b"", b"M", b"C", b"F"]
    tensors = [
        ("float32", "raw", (8, 4)),
        ("float32", "int8", (2, 64)),
        ("bfloat16", "raw", (3,)),
        ("uint8", "raw", (0,)),
    ]
    for step, (dtype, codec, shape) in enumerate(tensors):
        size = {"raw": {"float32": 4, "bfloat16": 2, "uint8": 1}[dtype] * int(np.prod(shape)), "int8": 132}[
            codec
        ]
        payload = bytes(range(size % 251)) + bytes(size - size % 251)
        manifest = Manifest.describe(
            payload,
            run="fuzz",
            kind=MessageKind.FEATURES,
            source="sat-0",
            destination="ground",
            dtype=dtype,
            shape=shape,
            codec=codec,
            step=step,
            attributes={"loss": 0.5, "count": 3, "mode": "lora"},
        )
        frames.append(encode_transfer_header(pb.SignedManifest(manifest=manifest.to_bytes())))
        frames.append(encode_transfer_header(identity.sign(manifest), 16, ["sat-0", "sat-1"]))
        frames += [
            encode_chunk(manifest.transfer_id, offset, payload[offset : offset + 64])
            for offset in range(0, size, 64)
        ]
    return frames


def mutated(frame: bytes, how: str, rng: np.random.Generator, others: list[bytes]) -> bytes:
    data = bytearray(frame)
    match how:
        case "flip":
            for position in rng.integers(0, max(1, len(data)), size=rng.integers(1, 8)):
                if data:
                    data[position] ^= 1 << int(rng.integers(0, 8))
        case "overwrite":
            start = int(rng.integers(0, len(data) + 1))
            data[start : start + 8] = rng.bytes(int(rng.integers(0, 12)))
        case "cut":
            del data[int(rng.integers(0, len(data) + 1)) :]
        case "insert":
            start = int(rng.integers(0, len(data) + 1))
            data[start:start] = rng.bytes(int(rng.integers(1, 40)))
        case "splice":
            other = others[int(rng.integers(0, len(others)))]
            data = data[: int(rng.integers(0, len(data) + 1))] + other[int(rng.integers(0, len(other) + 1)) :]
        case "noise":
            data = bytearray(frame[:1] + rng.bytes(int(rng.integers(0, 200))))
        case "none":
            pass
    return bytes(data)


def main() -> None:
    counts = {"frames": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        write_certificates(folder, ["sat-0", "ground"])
        identity = NodeIdentity.load(node_folder(folder, "ground"))
        frames = corpus(NodeIdentity.load(node_folder(folder, "sat-0")))
        spool = Spool(folder / "spool", quota=QUOTA, sender_quota=QUOTA, limits=LIMITS)
        stack.callback(spool.close)
        memory_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def fresh(verifying: bool) -> tuple[IncomingStream, BundleReader]:
            stream = IncomingStream(
                "sat-0",
                spool=spool,
                limits=LIMITS,
                identity=identity if verifying else None,
                admission=Admission(
                    admit=lambda manifest: None,
                    for_us=lambda manifest: manifest.destination == "ground",
                    is_node=lambda name: True,
                    drop=spool.remove,
                ),
                on_data=lambda entry: None,
            )
            return stream, BundleReader(LIMITS, max_concurrency=4)

        @settings(
            max_examples=FRAMES // FRAMES_PER_DRAW,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        )
        @given(
            start=st.integers(0, len(frames) - 1),
            how=st.sampled_from(["flip", "overwrite", "cut", "insert", "splice", "noise", "none"]),
            verifying=st.booleans(),
            seed=st.integers(0, 2**32 - 1),
        )
        def attack(start: int, how: str, verifying: bool, seed: int) -> None:
            rng = np.random.default_rng(seed)
            stream, reader = fresh(verifying)
            for index in range(FRAMES_PER_DRAW):
                frame = mutated(frames[(start + index) % len(frames)], how, rng, frames)
                for take in (stream.receive, reader.add):
                    try:
                        take(frame)
                    except WireError:
                        counts["refused"] += 1
                        stream, reader = fresh(verifying)
                    except Exception as error:
                        raise AssertionError(f"{type(error).__name__} from {frame.hex()}") from error
                counts["frames"] += 1
            stored = sum(path.stat().st_size for path in (folder / "spool").glob("*.part"))
            assert stored <= DISK_BYTES, f"{stored} bytes on disk"

        start_s = time.monotonic()
        while counts["frames"] < FRAMES:  # hypothesis stops early when it has seen a draw twice
            attack()
        seconds = time.monotonic() - start_s
        on_data = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory_before) * 1024
    print(
        f"{counts['frames']} frames in {seconds:.0f} s, {counts['refused']} refusals, memory +{on_data / 2**20:.0f} MiB"
    )
    print(json.dumps({**counts, "memory_growth_bytes": on_data, "memory_limit_bytes": MEMORY_BYTES}))
    if on_data > MEMORY_BYTES:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
