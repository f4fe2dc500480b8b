"""Regenerate `relay/wire/wire_pb2.py` and its type stubs: `python -m relay.wire.generate_stubs`.

Needs grpcio-tools 1.76.0: the stubs of later releases refuse to load beside protobuf 6, which flwr 1.41
requires.
"""

from pathlib import Path


def main() -> None:
    """Write the stubs beside the .proto file."""
    from grpc_tools import protoc

    root = Path(__file__).resolve().parents[2]
    status = protoc.main(
        ["protoc", f"-I{root}", f"--python_out={root}", f"--pyi_out={root}", "relay/wire/wire.proto"],
    )
    if status != 0:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
