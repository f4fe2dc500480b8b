from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KIND_UNSPECIFIED: _ClassVar[Kind]
    FEATURES: _ClassVar[Kind]
    HIDDEN: _ClassVar[Kind]
    GRAD_HIDDEN: _ClassVar[Kind]
    GRAD_FEATURES: _ClassVar[Kind]
    AGGREGATE: _ClassVar[Kind]
    SAMPLES: _ClassVar[Kind]
    IMAGES: _ClassVar[Kind]
    LABELS: _ClassVar[Kind]
    HEAD: _ClassVar[Kind]
    GRAD_HEAD: _ClassVar[Kind]
    RELEASE: _ClassVar[Kind]
KIND_UNSPECIFIED: Kind
FEATURES: Kind
HIDDEN: Kind
GRAD_HIDDEN: Kind
GRAD_FEATURES: Kind
AGGREGATE: Kind
SAMPLES: Kind
IMAGES: Kind
LABELS: Kind
HEAD: Kind
GRAD_HEAD: Kind
RELEASE: Kind

class Attribute(_message.Message):
    __slots__ = ("text", "integer", "real")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    text: str
    integer: int
    real: float
    def __init__(self, text: _Optional[str] = ..., integer: _Optional[int] = ..., real: _Optional[float] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("transfer_id", "run", "round", "step", "micro_batch", "kind", "source", "destination", "dtype", "shape", "codec", "total_bytes", "digest", "expiry_s", "attributes", "turn")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Attribute
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Attribute, _Mapping]] = ...) -> None: ...
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXPIRY_S_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    TURN_FIELD_NUMBER: _ClassVar[int]
    transfer_id: bytes
    run: str
    round: int
    step: int
    micro_batch: int
    kind: Kind
    source: str
    destination: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    codec: str
    total_bytes: int
    digest: bytes
    expiry_s: float
    attributes: _containers.MessageMap[str, Attribute]
    turn: int
    def __init__(self, transfer_id: _Optional[bytes] = ..., run: _Optional[str] = ..., round: _Optional[int] = ..., step: _Optional[int] = ..., micro_batch: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., codec: _Optional[str] = ..., total_bytes: _Optional[int] = ..., digest: _Optional[bytes] = ..., expiry_s: _Optional[float] = ..., attributes: _Optional[_Mapping[str, Attribute]] = ..., turn: _Optional[int] = ...) -> None: ...

class SignedManifest(_message.Message):
    __slots__ = ("manifest", "signature", "certificate")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    signature: bytes
    certificate: bytes
    def __init__(self, manifest: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., certificate: _Optional[bytes] = ...) -> None: ...

class TransferHeader(_message.Message):
    __slots__ = ("signed", "base_offset", "via", "computed_s")
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    BASE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    VIA_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_S_FIELD_NUMBER: _ClassVar[int]
    signed: SignedManifest
    base_offset: int
    via: _containers.RepeatedScalarFieldContainer[str]
    computed_s: float
    def __init__(self, signed: _Optional[_Union[SignedManifest, _Mapping]] = ..., base_offset: _Optional[int] = ..., via: _Optional[_Iterable[str]] = ..., computed_s: _Optional[float] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("transfer_id", "next_offset", "rewind", "refusal", "temporary")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    REWIND_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    TEMPORARY_FIELD_NUMBER: _ClassVar[int]
    transfer_id: bytes
    next_offset: int
    rewind: bool
    refusal: Failure
    temporary: bool
    def __init__(self, transfer_id: _Optional[bytes] = ..., next_offset: _Optional[int] = ..., rewind: bool = ..., refusal: _Optional[_Union[Failure, _Mapping]] = ..., temporary: bool = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("transfer_id", "error", "text")
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    transfer_id: bytes
    error: str
    text: str
    def __init__(self, transfer_id: _Optional[bytes] = ..., error: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class TransferId(_message.Message):
    __slots__ = ("transfer_id",)
    TRANSFER_ID_FIELD_NUMBER: _ClassVar[int]
    transfer_id: bytes
    def __init__(self, transfer_id: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("taken", "waiting", "received", "computed_s")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_S_FIELD_NUMBER: _ClassVar[int]
    taken: bytes
    waiting: bool
    received: int
    computed_s: float
    def __init__(self, taken: _Optional[bytes] = ..., waiting: bool = ..., received: _Optional[int] = ..., computed_s: _Optional[float] = ...) -> None: ...

class Nothing(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LinkStatus(_message.Message):
    __slots__ = ("peer", "open", "next_change_s", "sent_bytes", "resent_bytes", "last_error")
    PEER_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHANGE_S_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    peer: str
    open: bool
    next_change_s: float
    sent_bytes: int
    resent_bytes: int
    last_error: str
    def __init__(self, peer: _Optional[str] = ..., open: bool = ..., next_change_s: _Optional[float] = ..., sent_bytes: _Optional[int] = ..., resent_bytes: _Optional[int] = ..., last_error: _Optional[str] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node", "mission_s", "queued_transfers", "queued_bytes", "quota_bytes", "received_bytes", "delivered_transfers", "duplicate_transfers", "rejected_transfers", "links", "newest_transfers", "arriving_transfers", "computes_until_s", "computed_s")
    NODE_FIELD_NUMBER: _ClassVar[int]
    MISSION_S_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    QUOTA_BYTES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    NEWEST_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    ARRIVING_TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    COMPUTES_UNTIL_S_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_S_FIELD_NUMBER: _ClassVar[int]
    node: str
    mission_s: float
    queued_transfers: int
    queued_bytes: int
    quota_bytes: int
    received_bytes: int
    delivered_transfers: int
    duplicate_transfers: int
    rejected_transfers: int
    links: _containers.RepeatedCompositeFieldContainer[LinkStatus]
    newest_transfers: _containers.RepeatedCompositeFieldContainer[TransferRecord]
    arriving_transfers: _containers.RepeatedCompositeFieldContainer[TransferRecord]
    computes_until_s: float
    computed_s: float
    def __init__(self, node: _Optional[str] = ..., mission_s: _Optional[float] = ..., queued_transfers: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., quota_bytes: _Optional[int] = ..., received_bytes: _Optional[int] = ..., delivered_transfers: _Optional[int] = ..., duplicate_transfers: _Optional[int] = ..., rejected_transfers: _Optional[int] = ..., links: _Optional[_Iterable[_Union[LinkStatus, _Mapping]]] = ..., newest_transfers: _Optional[_Iterable[_Union[TransferRecord, _Mapping]]] = ..., arriving_transfers: _Optional[_Iterable[_Union[TransferRecord, _Mapping]]] = ..., computes_until_s: _Optional[float] = ..., computed_s: _Optional[float] = ...) -> None: ...

class TransferRecordsRequest(_message.Message):
    __slots__ = ("run", "round")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ...) -> None: ...

class TransferRecord(_message.Message):
    __slots__ = ("run", "round", "step", "micro_batch", "kind", "source", "destination", "peer", "sent", "size_bytes", "start_s", "end_s", "arrived_bytes")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    MICRO_BATCH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_S_FIELD_NUMBER: _ClassVar[int]
    END_S_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_BYTES_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    step: int
    micro_batch: int
    kind: Kind
    source: str
    destination: str
    peer: str
    sent: bool
    size_bytes: int
    start_s: float
    end_s: float
    arrived_bytes: int
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., step: _Optional[int] = ..., micro_batch: _Optional[int] = ..., kind: _Optional[_Union[Kind, str]] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., peer: _Optional[str] = ..., sent: bool = ..., size_bytes: _Optional[int] = ..., start_s: _Optional[float] = ..., end_s: _Optional[float] = ..., arrived_bytes: _Optional[int] = ...) -> None: ...

class RoundStart(_message.Message):
    __slots__ = ("start_s", "network", "pace")
    START_S_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    start_s: float
    network: str
    pace: float
    def __init__(self, start_s: _Optional[float] = ..., network: _Optional[str] = ..., pace: _Optional[float] = ...) -> None: ...

class ClockTime(_message.Message):
    __slots__ = ("mission_s", "probe", "standing", "round_start", "network", "pace")
    MISSION_S_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    STANDING_FIELD_NUMBER: _ClassVar[int]
    ROUND_START_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    mission_s: float
    probe: int
    standing: bool
    round_start: int
    network: str
    pace: float
    def __init__(self, mission_s: _Optional[float] = ..., probe: _Optional[int] = ..., standing: bool = ..., round_start: _Optional[int] = ..., network: _Optional[str] = ..., pace: _Optional[float] = ...) -> None: ...

class ClockReport(_message.Message):
    __slots__ = ("probe", "busy", "wake_s", "changes", "round_start", "session_alive", "attached", "computing")
    PROBE_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    WAKE_S_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ROUND_START_FIELD_NUMBER: _ClassVar[int]
    SESSION_ALIVE_FIELD_NUMBER: _ClassVar[int]
    ATTACHED_FIELD_NUMBER: _ClassVar[int]
    COMPUTING_FIELD_NUMBER: _ClassVar[int]
    probe: int
    busy: bool
    wake_s: float
    changes: int
    round_start: int
    session_alive: bool
    attached: bool
    computing: bool
    def __init__(self, probe: _Optional[int] = ..., busy: bool = ..., wake_s: _Optional[float] = ..., changes: _Optional[int] = ..., round_start: _Optional[int] = ..., session_alive: bool = ..., attached: bool = ..., computing: bool = ...) -> None: ...
