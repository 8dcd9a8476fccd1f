"""A server's own TOML file: the steering wheel. Reading; ``fleet.config_change`` writes.

The gateway follows its ``[mcp]`` and ``[performance]``, the thresholds its ``[monitoring]``. Sections and keys
that nobody here knows are the server's own business and pass unread.
"""

from __future__ import annotations

import math
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeGuard, TypeVar, overload

from fleet.errors import ConfigError, Problem
from fleet.security import Approval, Security

Table = Mapping[str, Any]
N = TypeVar("N", int, None)

MAX_BYTES: Final = 4_194_304
"""More than any settings: a log or a device that is named by mistake must not take a program's memory."""

_MAX_DEPTH: Final = 32
_MAX_SEEN: Final = 80


@dataclass(frozen=True, slots=True)
class Tuning:
    """What ``[mcp]`` and ``[performance]`` say, durations in seconds; None where a limit is not set.

    Attributes:
        enable_response_caching: answer from the cache what may be cached.
        cache_ttl_seconds: longest age of a cached tool result; an upper bound of the server's own ``ttlMs``.
        enable_request_batching: let identical cacheable calls in flight share one.
        batch_size: callers that share one call at most.
        batch_timeout_seconds: how old a call may be that another joins.
        max_concurrent_sessions: cap on sessions.
        max_processes: cap on the children of a stdio server.
        session_seconds: a session or modern client unseen for longer than this has ended.
        initial_response_seconds: longest wait for the first byte of an answer.
        inactivity_seconds: longest silence inside an answer.
        connection_pool_size: calls in flight at most.
        max_retries: further attempts of an idempotent read.
        retry_delay_seconds: pause before each of them.
        enable_circuit_breaker: whether a breaker is configured.
        circuit_breaker_threshold: consecutive failures that open it.
        circuit_breaker_seconds: how long it stays open before one trial.
        max_buffer_bytes: a message up to this long is looked at whole; a longer one streams through.
        enable_keep_alive: whether connections are used for more than one exchange.
    """

    enable_response_caching: bool = False
    cache_ttl_seconds: float = 300.0
    enable_request_batching: bool = False
    batch_size: int = 5
    batch_timeout_seconds: float = 1.0
    max_concurrent_sessions: int | None = None
    max_processes: int | None = None
    session_seconds: float = 600.0
    initial_response_seconds: float = 45.0
    inactivity_seconds: float = 30.0
    connection_pool_size: int | None = None
    max_retries: int = 0
    retry_delay_seconds: float = 1.0
    enable_circuit_breaker: bool = False
    circuit_breaker_threshold: int = 5
    circuit_breaker_seconds: float = 30.0
    max_buffer_bytes: int = 4_194_304
    enable_keep_alive: bool = True


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """What was read from ``file``: the whole parsed ``values``, the numbers of ``[monitoring]`` and
    ``[cost_optimization]`` for ``fleet.thresholds.own_levels``, ``tuning``, and what ``[security]`` promises.

    ``problems``: why it could not be read; then nothing is known, and the rest are defaults.
    """

    file: Path
    values: Table = field(repr=False)
    monitoring: Mapping[str, float]
    tuning: Tuning
    security: Security = field(default_factory=Security)
    problems: tuple[Problem, ...] = ()

    @classmethod
    def unread(cls, file: Path, problems: tuple[Problem, ...]) -> ServerConfig:
        """What stands for a file that is broken: its place, what is wrong with it, and defaults."""
        return cls(file, {}, {}, Tuning(), problems=problems)


def read_server_config(file: Path) -> ServerConfig:
    """Read and check ``file``.

    Raises:
        ConfigError: the file cannot be read, is not TOML, or a key that is used here has the wrong type; every
            mistake is named with its line.
    """
    text = _text(file)
    values = _parsed(file, text)
    reader = _Reader(file, text, values)
    levels = {**reader.numbers("monitoring"), **reader.numbers("cost_optimization")}
    config = ServerConfig(file, values, levels, _tuning(reader), _security(reader))
    if reader.problems:
        raise ConfigError(tuple(reader.problems))
    return config


def _tuning(reader: _Reader) -> Tuning:
    default = Tuning()
    return Tuning(
        enable_response_caching=reader.flag("mcp", "enable_response_caching"),
        cache_ttl_seconds=reader.milliseconds("mcp", "cache_ttl_ms", default.cache_ttl_seconds),
        enable_request_batching=reader.flag("mcp", "enable_request_batching"),
        batch_size=reader.count("mcp", "batch_size", default.batch_size),
        batch_timeout_seconds=reader.milliseconds("mcp", "batch_timeout_ms", default.batch_timeout_seconds),
        max_concurrent_sessions=reader.count("mcp", "max_concurrent_sessions", None),
        max_processes=reader.count("performance", "max_processes", None),
        session_seconds=reader.milliseconds("mcp", "session_timeout_ms", default.session_seconds),
        initial_response_seconds=reader.milliseconds(
            "performance", "initial_response_timeout", default.initial_response_seconds
        ),
        inactivity_seconds=reader.milliseconds("performance", "inactivity_timeout", default.inactivity_seconds),
        connection_pool_size=reader.count("performance", "connection_pool_size", None),
        max_retries=reader.count("performance", "max_retries", default.max_retries, minimum=0),
        retry_delay_seconds=reader.milliseconds("performance", "retry_delay_ms", default.retry_delay_seconds),
        enable_circuit_breaker=reader.flag("performance", "enable_circuit_breaker"),
        circuit_breaker_threshold=reader.count(
            "performance", "circuit_breaker_threshold", default.circuit_breaker_threshold
        ),
        circuit_breaker_seconds=reader.milliseconds(
            "performance", "circuit_breaker_timeout_ms", default.circuit_breaker_seconds
        ),
        max_buffer_bytes=reader.count(
            "performance", "max_buffer_size", default.max_buffer_bytes, minimum=1024, maximum=1 << 30
        ),
        enable_keep_alive=reader.flag("mcp", "enable_keep_alive", default.enable_keep_alive),
    )


def _security(reader: _Reader) -> Security:
    workflows = "security.approval_workflows"
    approval = Approval(
        auto_approve_read_only=reader.flag(workflows, "auto_approve_read_only", None),
        auto_approve_isolated=reader.flag(workflows, "auto_approve_isolated", None),
        auto_approve_full_access=reader.flag(workflows, "auto_approve_full_access", None),
        require_manual_approval_for_ci=reader.flag(workflows, "require_manual_approval_for_ci", None),
    )
    return Security(
        risk_assessment=reader.flag("security", "risk_assessment", None),
        audit_logging=reader.flag("security", "audit_logging", None),
        sensitive_data_detection=reader.flag("security", "sensitive_data_detection", None),
        risk_levels=reader.texts("security.risk_levels"),
        approval=approval if reader.has(workflows) else None,
        compression=reader.flag("mcp", "enable_compression", None),
    )


def flattened(values: Table) -> dict[tuple[str, str], float]:
    """The numbers and booleans (as 1 and 0) of the file as (section, key); nested sections are dotted."""
    found: dict[tuple[str, str], float] = {}

    def walk(section: str, table: Table) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                walk(f"{section}.{key}" if section else key, value)
            elif isinstance(value, bool | int | float):
                found[section, key] = float(value)

    walk("", values)
    return found


def line_of(text: str, section: str, key: str) -> int:
    """The 1-based line on which ``key`` of ``[section]`` stands, 0 when it is not written plainly."""
    current = ""
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        if header:
            current = header.group(1)
        elif current == section and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return 0


def line_in(file: Path, section: str, key: str) -> int:
    """``line_of`` in what ``file`` says now, 0 where it cannot be read."""
    try:
        return line_of(_text(file), section, key)
    except ConfigError:
        return 0


def _text(file: Path) -> str:
    try:
        if stat.S_ISFIFO(file.stat().st_mode):  # opening it waits for a writer that may never come
            raise ConfigError((Problem(str(file), 0, "", "is a pipe", "Name a regular file in config_file"),))
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            problem = Problem(str(file), 0, "", f"is larger than {MAX_BYTES} bytes", "Settings are never that long")
            raise ConfigError((problem,))
        return data.decode("utf-8")
    except OSError as error:
        problem = Problem(
            str(file), 0, "", f"cannot be read: {error.strerror}", "Check config_file and its permissions"
        )
        raise ConfigError((problem,)) from error
    except UnicodeDecodeError as error:
        problem = Problem(str(file), 0, "", f"is not UTF-8 at byte {error.start}", "Save the file as UTF-8")
        raise ConfigError((problem,)) from error


def _parsed(file: Path, text: str) -> Table:
    try:
        values = tomllib.loads(text)
        _check_extremes(values)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_broken(file, error),)) from error
    except RecursionError as error:
        raise ConfigError(
            (Problem(str(file), 0, "", "nests too deep", "No setting needs that; flatten it"),)
        ) from error
    except ValueError as error:
        problem = Problem(str(file), 0, "", "holds a whole number beyond 64 bits", "Write a smaller number")
        raise ConfigError((problem,)) from error
    return values


def _check_extremes(values: Table) -> None:
    """What tomllib takes and hardly anything else does.

    Raises:
        RecursionError: it nests deeper than 32 levels.
        ValueError: a whole number lies beyond the 64 bits of TOML: no float could hold it.
    """
    level: list[object] = [values]
    for _ in range(_MAX_DEPTH):
        following: list[object] = []
        for each in level:
            if isinstance(each, dict):
                following.extend(each.values())
            elif isinstance(each, list):
                following.extend(each)
            elif isinstance(each, int) and not -(2**63) <= each < 2**63:
                raise ValueError("a whole number beyond 64 bits")
        level = following
    if level:
        raise RecursionError("deeper than any settings")


def _broken(file: Path, error: tomllib.TOMLDecodeError) -> Problem:
    place = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
    message = re.sub(r" \(at .*\)$", "", str(error))
    column = f", column {place.group(2)}" if place else ""
    taken = "overwrite" in message
    remedy = (
        "A key above already gives this name a value; rename or remove one of them"
        if taken
        else "Mend the syntax there"
    )
    return Problem(str(file), int(place.group(1)) if place else 0, "", f"is not TOML: {message}{column}", remedy)


class _Reader:
    """Typed look-ups that collect problems instead of raising at the first."""

    def __init__(self, file: Path, text: str, values: Table) -> None:
        self._file, self._text, self._values = file, text, values
        self.problems: list[Problem] = []

    def numbers(self, section: str) -> dict[str, float]:
        """Numbers of a section. A threshold of another type is a problem, other keys are not ours."""
        found: dict[str, float] = {}
        for key, value in self._section(section).items():
            if _is_number(value):
                found[key] = float(value)
            elif key.startswith("alert_thresholds_"):
                self._fail(section, key, "must be a number", value, "Write a number without quotes")
        return found

    def milliseconds(self, section: str, key: str, default: float) -> float:
        """A positive number of milliseconds, in seconds."""
        value = self._section(section).get(key)
        if value is None:
            return default
        if not _is_number(value) or not 0 < value <= 1e12:
            self._fail(section, key, "must be a positive number of milliseconds", value, "Write such as 30000")
            return default
        return float(value) / 1000.0

    def count(self, section: str, key: str, default: N, minimum: int = 1, maximum: int = 1_000_000) -> int | N:
        """A whole number from ``minimum`` to ``maximum``, ``default`` when absent."""
        value = self._section(section).get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            message = f"must be a whole number from {minimum} to {maximum}"
            self._fail(section, key, message, value, f"Write such as {max(10, minimum)}")
            return default
        return value

    @overload
    def flag(self, section: str, key: str, default: bool = False) -> bool: ...

    @overload
    def flag(self, section: str, key: str, default: None) -> bool | None: ...

    def flag(self, section: str, key: str, default: bool | None = False) -> bool | None:
        """A boolean, ``default`` when absent."""
        value = self._section(section).get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self._fail(section, key, "must be true or false", value, "Write true or false without quotes")
            return default
        return value

    def texts(self, section: str) -> dict[str, str]:
        """Every key of a section whose values are all text."""
        found: dict[str, str] = {}
        for key, value in self._section(section).items():
            if isinstance(value, str):
                found[key] = value
            else:
                self._fail(section, key, "must be text", value, "Write it in quotes")
        return found

    def has(self, section: str) -> bool:
        """Whether the file has this section, though it may be empty."""
        outer, _, inner = section.rpartition(".")
        return inner in (self._section(outer) if outer else self._values)

    def _section(self, section: str) -> Table:
        outer, _, inner = section.rpartition(".")
        value = (self._section(outer) if outer else self._values).get(inner, {})
        if isinstance(value, dict):
            return value
        if not any(problem.key_path == section for problem in self.problems):
            line = line_of(self._text, outer, inner)
            self.problems.append(
                Problem(str(self._file), line, section, "must be a table", f"Write [{section}]", _seen(value))
            )
        return {}

    def _fail(self, section: str, key: str, message: str, value: object, remedy: str) -> None:
        line = line_of(self._text, section, key)
        self.problems.append(Problem(str(self._file), line, f"{section}.{key}", message, remedy, _seen(value)))


def _seen(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SEEN else text[:_MAX_SEEN] + "..."


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
