"""The snapshot that a gateway or a server reports of itself, as JSON over HTTP.

Every figure is cumulative since ``started_at``, so a lost push costs nothing. The closed sets of label values
live here, because the gateway counts by them and the exporter pre-initialises series from them.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec

from fleet.errors import PermanentError

SCHEMA: Final = 1
MAX_TELEMETRY_BYTES: Final = 4 * 1024 * 1024

BOUNDS: Final[tuple[float, ...]] = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
)  # fmt: skip
"""Upper bounds of the latency buckets in seconds. OpenTelemetry's, and 3, where a threshold stands."""

SESSION_BOUNDS: Final[tuple[float, ...]] = (1.0, 10.0, 60.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0, 86400.0)
"""Upper bounds of the session duration buckets in seconds."""

TOOLS_CALL: Final = "tools/call"
OTHER: Final = "other"

METHODS: Final = frozenset(
    {
        "initialize", "ping", "server/discover", "subscriptions/listen", "tools/list", TOOLS_CALL,
        "prompts/list", "prompts/get", "resources/list", "resources/templates/list", "resources/read",
        "resources/subscribe", "resources/unsubscribe", "completion/complete", "logging/setLevel",
        "sampling/createMessage", "elicitation/create", "roots/list",
        "tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
        "notifications/initialized", "notifications/cancelled", "notifications/progress",
        "notifications/roots/list_changed",
    }
)  # fmt: skip
"""The methods of all revisions of the protocol: the closed set of ``mcp_method_name``; the rest is ``other``."""

JSONRPC_ERROR_CODES: Final = frozenset({"-32700", "-32600", "-32601", "-32602", "-32603", "-32000"})
ERROR_TYPES: Final[tuple[str, ...]] = (
    "tool_error", "timeout", "cancelled", "connection", "http_4xx", "http_5xx",
    "-32700", "-32600", "-32601", "-32602", "-32603", "-32000", OTHER,
)  # fmt: skip
"""The closed set of ``error_type``; '' on an operation means that it succeeded."""

NOT_THE_SERVERS_ERRORS: Final = ("cancelled", "-32602", "http_4xx")
"""Error types that say nothing about the server's health: the caller's doing."""


class Refused(enum.StrEnum):
    """Why the gateway itself refused a call. The label ``reason``; such calls are never operations."""

    RESTARTING = "restarting"
    SESSIONS = "sessions"
    QUEUE = "queue"
    BREAKER = "breaker"
    TIMEOUTS = "timeouts"
    RETRIES = "retries"


class BreakerState(enum.StrEnum):
    """The states of a circuit breaker, worst last."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


def error_type_of_code(code: int) -> str:
    """The ``error_type`` of a JSON-RPC error code: itself when it belongs to the closed set, else ``other``."""
    text = str(code)
    return text if text in JSONRPC_ERROR_CODES else OTHER


Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""A whole number that a float still holds exactly."""

Amount = Annotated[float, msgspec.Meta(ge=0)]


class Exemplar(msgspec.Struct, frozen=True, kw_only=True):
    """One operation that a trace tells more of: how many seconds it took, when it ended (UNIX seconds)."""

    value: Amount
    trace_id: Annotated[str, msgspec.Meta(pattern="^(?!0{32})[0-9a-f]{32}$")]
    at: Amount


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """One latency histogram. ``buckets`` are cumulative counts per bound, without +Inf (that is ``count``).

    ``exemplars`` are the latest traced operation of each bucket, +Inf's included, as far as there is one.
    """

    method: str
    tool: str = ""
    error_type: str = ""
    transport: str = "tcp"
    count: Count
    sum: Amount
    buckets: list[Count]
    exemplars: list[Exemplar] = msgspec.field(default_factory=list)


class Histogram(msgspec.Struct, frozen=True, kw_only=True):
    """A histogram without labels; ``buckets`` cumulative as in ``Operations``, over ``SESSION_BOUNDS``."""

    count: Count = 0
    sum: Amount = 0.0
    buckets: list[Count] = msgspec.field(default_factory=list)


class Up(msgspec.Struct, frozen=True, kw_only=True):
    """Whether an exchange or supervision proved the server broken (0) or not (1), why, and since when."""

    value: Annotated[int, msgspec.Meta(ge=0, le=1)] = 1
    reason: str = ""
    at: float = 0.0


class Sessions(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions alive now, the cap that is really enforced (None: none is), and those that ended."""

    active: Count = 0
    limit: Count | None = None
    ended: Histogram = msgspec.field(default_factory=Histogram)


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """Lookups of cacheable things, those answered from the cache, entries now, entries thrown out."""

    requests: Count = 0
    hits: Count = 0
    entries: Count = 0
    evictions: Count = 0


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """One circuit breaker: its state now and how often it opened."""

    name: str
    state: BreakerState = BreakerState.CLOSED
    opened: Count = 0


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that wait now, and how many may."""

    length: Count = 0
    limit: Count | None = None


class Bytes(msgspec.Struct, frozen=True, kw_only=True, rename={"in_": "in"}):
    """Body bytes: ``in`` from clients, ``out`` to clients."""

    in_: Count = 0
    out: Count = 0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one model's tokens cost so far, in USD."""

    model: str
    usd: Amount


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the server, measured on the host where it runs. ``start_time`` in UNIX seconds."""

    pid: Count
    start_time: Amount
    resident_memory_bytes: Count
    cpu_seconds: Amount
    open_fds: Count


class Telemetry(msgspec.Struct, frozen=True, kw_only=True, rename={"schema_": "schema"}):
    """The whole body. ``source`` is ``HOST-PID-STARTED_AT`` and names its sender for ever."""

    schema_: int = SCHEMA
    source: str
    started_at: Amount
    final: bool = False
    bounds: list[float] = msgspec.field(default_factory=lambda: list(BOUNDS))
    operations: list[Operations] = msgspec.field(default_factory=list)
    up: Up = msgspec.field(default_factory=Up)
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    cache: Cache = msgspec.field(default_factory=Cache)
    breakers: list[Breaker] = msgspec.field(default_factory=list)
    queue: Queue = msgspec.field(default_factory=Queue)
    in_flight: Count = 0
    bytes: Bytes = msgspec.field(default_factory=Bytes)
    refused: dict[str, Count] = msgspec.field(default_factory=dict)
    would_refuse: dict[str, Count] = msgspec.field(default_factory=dict)
    stray_output: Count = 0
    unreadable: Count = 0
    restarts: Count = 0
    cost: list[Cost] = msgspec.field(default_factory=list)
    processes: list[Process] = msgspec.field(default_factory=list)


_DECODER: Final = msgspec.json.Decoder(Telemetry)
_ENCODER: Final = msgspec.json.Encoder()


def encode(telemetry: Telemetry) -> bytes:
    """The JSON body of a push."""
    return _ENCODER.encode(telemetry)


def decode(body: bytes) -> Telemetry:
    """Read a pushed body; unknown fields are ignored.

    Raises:
        PermanentError: not JSON, a missing or mistyped field, another schema, or buckets that do not fit.
    """
    try:
        telemetry = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PermanentError(f"not a telemetry body: {error}") from error
    _check(telemetry)
    return telemetry


def _check(telemetry: Telemetry) -> None:
    if telemetry.schema_ != SCHEMA:
        raise PermanentError(f"telemetry schema {telemetry.schema_} is not known here; this reads schema {SCHEMA}")
    if not telemetry.source or len(telemetry.source) > 200:
        raise PermanentError("telemetry source must have 1 to 200 characters")
    if telemetry.bounds != sorted(set(telemetry.bounds)) or len(telemetry.bounds) > 64:
        raise PermanentError("telemetry bounds must rise and be at most 64")
    for entry in telemetry.operations:
        if len(entry.buckets) != len(telemetry.bounds):
            raise PermanentError(
                f"operation {entry.method!r} has {len(entry.buckets)} buckets for {len(telemetry.bounds)} bounds"
            )
        rising = [*entry.buckets, entry.count]
        if rising != sorted(rising):
            raise PermanentError(f"operation {entry.method!r} has buckets that are not cumulative")
        if len(entry.exemplars) > len(entry.buckets) + 1:
            raise PermanentError(f"operation {entry.method!r} has more exemplars than buckets")
