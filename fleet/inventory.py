"""The fleet as one frozen value, read once from fleet.yml by ``fleet.loading.load_fleet``."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NewType
from urllib.parse import urlsplit

from fleet.maintenance import MaintenanceWindow
from fleet.server_config import ServerConfig, Tuning
from fleet.server_settings import Setting, SettingValue, as_toml
from fleet.thresholds import Thresholds, Written

ServerName = NewType("ServerName", str)
"""A configured name: ``[a-z0-9][a-z0-9_-]{0,62}``, unique in the fleet."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a program listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The address as a base URL without a trailing slash."""
        return f"http://{self}"


class Transport(enum.StrEnum):
    """How clients reach a server."""

    HTTP = "http"
    STDIO = "stdio"


class Mode(enum.StrEnum):
    """Whether the receiver acts or only says what it would do."""

    AUTOMATIC = "automatic"
    SUGGEST = "suggest"


class RestartVia(enum.StrEnum):
    """Who can restart the server."""

    GATEWAY = "gateway"
    PIDFILE = "pidfile"
    COMMAND = "command"
    SYSTEMD = "systemd"
    DOCKER = "docker"

    @property
    def starts(self) -> bool:
        """Whether it can also start and stop a server: a command of the operator's knows one thing only."""
        return self is not RestartVia.COMMAND


class Enforced(enum.StrEnum):
    """Limits of the TOML that the gateway enforces only where ``enforce`` names them; elsewhere it counts."""

    SESSIONS = "sessions"
    TIMEOUTS = "timeouts"
    RETRIES = "retries"


@dataclass(frozen=True, slots=True)
class Restart:
    """``restart`` of a server.

    ``argv`` belongs to ``command``: what is run, without a shell, to restart it. ``on_exit`` belongs to ``gateway``:
    whether it starts a child that ended again by itself. ``unit`` belongs to ``systemd``, ``user`` says that it is
    one of the user's own manager. ``container`` and the engine's ``socket`` belong to ``docker``.
    """

    via: RestartVia
    argv: tuple[str, ...] = ()
    on_exit: bool = False
    unit: str = ""
    user: bool = False
    container: str = ""
    socket: Path | None = None


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """``probe`` of a server: what the exporter asks it by itself, and how often.

    ``tool`` is a read-only tool whose failure means down. ``spawn`` lets the exporter start a stdio server only to
    ask it.
    """

    interval_seconds: float = 15.0
    tool: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)
    spawn: bool = False


class LogFormat(enum.StrEnum):
    """How a log file's lines are read."""

    JSON = "json"
    TEXT = "text"


LOG_FIELDS: Final = ("duration_ms", "tool", "error")
"""What one line of a log may tell of one call: keys of ``fields``, named groups of ``patterns``."""


@dataclass(frozen=True, slots=True)
class LogSource:
    """One log file.

    ``fields`` belongs to JSON: which of its keys holds which of ``LOG_FIELDS``. ``patterns`` belongs to text: a name
    and a regular expression each, whose named groups are of ``LOG_FIELDS``; the first that is found in a line counts.
    """

    path: Path
    format: LogFormat
    fields: Mapping[str, str]
    patterns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessSelector:
    """How the exporter finds a server's process where no gateway reports it; exactly one is set."""

    pid_file: Path | None = None
    port: int | None = None
    command_regex: str | None = None
    systemd_unit: str | None = None


TOOL_VITALS: Final = (
    "mcp_server_sessions",
    "mcp_server_sessions_limit",
    "mcp_server_in_flight",
    "mcp_server_queue_length",
    "mcp_server_queue_limit",
    "mcp_server_cache_entries",
    "mcp_server_cache_hit_ratio",
    "mcp_server_processes",
)
"""The vitals that a tool of the server may tell: gauges that are true now, whoever says so."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of a tool's JSON result: its dotted ``path`` (``stats.queue.0.size``), and what to multiply it by."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class ToolMetrics:
    """A tool of the server that the exporter calls at an interval, and the numbers of its result that it publishes.

    ``figures`` maps a name to where its number stands: one of ``TOOL_VITALS``, or a name of the operator's own.
    """

    tool: str
    arguments: Mapping[str, object]
    interval_seconds: float
    figures: Mapping[str, Figure]


@dataclass(frozen=True, slots=True)
class AuditLog:
    """Where the gateway writes who called what; ``arguments`` writes the calls' arguments too."""

    path: Path
    arguments: bool = False


@dataclass(frozen=True, slots=True)
class ToolCheck:
    """A tool that a deployment calls; ``expect`` is a text that the result has to contain, or JSON that it has to say.

    None where any result will do that is no error.
    """

    tool: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    expect: object = None


@dataclass(frozen=True, slots=True)
class DeploySettings:
    """``deploy`` of a server: ``build`` and ``test`` are commands, argv each, run without a shell."""

    build: tuple[tuple[str, ...], ...] = ()
    test: tuple[tuple[str, ...], ...] = ()
    checks: tuple[ToolCheck, ...] = ()
    first_response_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """One MCP server.

    ``command`` is argv, run without a shell in ``working_directory`` with ``env`` on top of the gateway's
    environment. ``thresholds`` is complete: every key, from whichever source was the highest when the file was read;
    ``written_thresholds`` is what they are merged from again when the server's TOML changes.
    ``restart`` is None when nobody may restart the server. ``url`` is empty for a stdio server.
    ``cache_tools`` are the tools whose results may be cached. ``probe`` is None when none is configured.
    ``auth_file`` holds the credentials that the server itself needs; only that it is there, and who may read it, is
    looked at. ``sessions_pattern`` and ``cache_pattern`` are glob patterns of Redis keys, one key a session or a
    cache entry.
    """

    name: ServerName
    transport: Transport
    url: str
    listen: Address | None
    command: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)
    working_directory: Path
    config: ServerConfig | None
    process: ProcessSelector | None
    restart: Restart | None
    mode: Mode
    thresholds: Thresholds
    enforce: frozenset[Enforced] = frozenset()
    cache_tools: frozenset[str] = frozenset()
    probe: ProbeSettings | None = None
    logs: tuple[LogSource, ...] = ()
    written_thresholds: Written = field(default_factory=Written)
    auth_file: Path | None = None
    audit_log: AuditLog | None = None
    sessions_pattern: str | None = None
    cache_pattern: str | None = None
    tool_metrics: tuple[ToolMetrics, ...] = ()
    deploy: DeploySettings = field(default_factory=DeploySettings)

    @property
    def tuning(self) -> Tuning:
        """What the server's TOML says, the defaults without one."""
        return Tuning() if self.config is None else self.config.tuning

    @property
    def origin(self) -> str:
        """Scheme and authority of ``url``, without a trailing slash."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``gateway`` in fleet.yml. ``control_dir`` holds one socket ``NAME-PID.sock`` per served server."""

    listen: Address
    control_dir: Path


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """``exporter`` in fleet.yml.

    ``url`` is how gateways and Prometheus reach it; ``state_file`` keeps totals; ``web_config_file`` is a file of
    Prometheus' exporter-toolkit with TLS and basic authentication.
    """

    listen: Address
    url: str
    telemetry_token_file: Path | None
    state_file: Path
    web_config_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ActionLimit:
    """At most ``count`` actions in any ``per_seconds``."""

    count: int
    per_seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """``receiver.limits``, seconds unless the name says otherwise.

    Attributes:
        cooldown_seconds: between two actions on one server (120: a server needs time to show what an act did).
        actions: per-server budget (5 an hour: more restarts than that help nobody).
        fleet_actions: budget over all servers (10 in 10 minutes: beyond that the cause is elsewhere).
        recovery_actions: per-server budget of staged recovery, apart, or undo would always be refused (6 an hour).
        concurrent_treatments: servers under treatment at once (2).
        verdict_delay_seconds: wait after an act before the first verdict (30: two scrapes).
        verdict_timeout_seconds: how long a verdict may stay inconclusive (600).
        min_operations: traffic that a verdict on a ratio or a latency needs (20).
        healthy_seconds: how long a server must be healthy before its incident closes (300).
    """

    cooldown_seconds: float = 120.0
    actions: ActionLimit = ActionLimit(5, 3600.0)
    fleet_actions: ActionLimit = ActionLimit(10, 600.0)
    recovery_actions: ActionLimit = ActionLimit(6, 3600.0)
    concurrent_treatments: int = 2
    verdict_delay_seconds: float = 30.0
    verdict_timeout_seconds: float = 600.0
    min_operations: int = 20
    healthy_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Rung:
    """One rung of a ladder: an action, with what it is to do where the action needs to be told.

    ``changes`` belongs to ``set_config`` (settings and their new values), ``profile`` to ``apply_profile``.
    """

    action: str
    changes: tuple[tuple[Setting, SettingValue], ...] = ()
    profile: str = ""

    def __str__(self) -> str:
        """The rung's name in the journal: ``restart``, ``apply_profile high_load``, ``set_config mcp.x=false``."""
        told = [f"{setting}={as_toml(value)}" for setting, value in self.changes]
        return " ".join([self.action, *told, *([self.profile] if self.profile else [])])


Ladder = tuple[Rung, ...]
"""The rungs of one signal, gentlest first."""


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """``receiver`` in fleet.yml. ``ladders`` has every signal. ``journal`` is the SQLite file.

    ``suggest_actions`` are actions that are only suggested, also on servers whose mode is automatic.
    ``basic_auth_file`` names users as htpasswd does, ``web_config_file`` is a file of ``fleet.web_config``. What the
    journal holds of closed incidents is forgotten after ``journal_retention_days``; 0 keeps all.
    """

    listen: Address
    url: str
    journal: Path
    bearer_token_files: tuple[Path, ...]
    limits: Limits
    ladders: Mapping[str, Ladder]
    maintenance_windows: tuple[MaintenanceWindow, ...] = ()
    suggest_actions: frozenset[str] = frozenset()
    basic_auth_file: Path | None = None
    web_config_file: Path | None = None
    journal_retention_days: float = 400.0


@dataclass(frozen=True, slots=True)
class Price:
    """What a model's tokens cost, in US dollars a million. Cached input costs as much as other input when None."""

    input_usd_per_million_tokens: float
    output_usd_per_million_tokens: float
    cached_input_usd_per_million_tokens: float | None = None


@dataclass(frozen=True, slots=True)
class GrafanaSettings:
    """``grafana`` in fleet.yml: where annotations are written, and the file with the token of a service account."""

    url: str
    token_file: Path


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everything fleet.yml says.

    ``prometheus_url`` and ``alertmanager_url`` have no trailing slash. ``redis_url`` is empty where there is no
    Redis, else one that ``fleet.redis_address`` reads. ``prices`` has a model each. ``grafana`` is None where nothing
    is written there.
    """

    file: Path
    prometheus_url: str
    alertmanager_url: str
    gateway: GatewaySettings
    exporter: ExporterSettings
    receiver: ReceiverSettings
    servers: Mapping[ServerName, Server]
    redis_url: str = field(default="", repr=False)
    prices: Mapping[str, Price] = field(default_factory=dict)
    grafana: GrafanaSettings | None = None
