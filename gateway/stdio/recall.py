"""What fleet.yml said of a server when it was read last, so that the server starts before any YAML is read again.

Reading and checking fleet.yml takes a tenth of a second, more than many servers need to start. So a gateway that has
read it leaves a note in the user's cache folder, and the next one starts the server from that note. It is believed
only while everything that it was made from is the same: the fleet file, the TOML files, the code that read them, the
places that paths lead to, the environment's variables that the file names. Anything else, and the file is read.

Nothing is imported here that a bare interpreter has not got already; ``remember`` writes the notes. A note is texts
joined by NUL, which no argument, path or variable can hold. The value of a variable is never written: where a text
holds one its name stands for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

MAGIC = "mcp-medic stdio note 1"
END = "\0"
NAMED = "\1"
"""Stands on both sides of a variable's name in a text."""

OPEN = frozenset({"HOME"})
"""Variables whose values may be written."""

_MAX_NAME_BYTES = 250
_MAX_BYTES = 4 * 1024 * 1024


class Launch:
    """How a server is started: ``env`` on top of the gateway's own environment, ``folder`` to run in.

    ``needs_seat``: only once it is known that the cap on sessions leaves room.
    """

    __slots__ = ("argv", "env", "folder", "needs_seat")

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: str, *, needs_seat: bool) -> None:
        self.argv = argv
        self.env = env
        self.folder = folder
        self.needs_seat = needs_seat


class Sources:
    """What a note was made from.

    Attributes:
        stamps: each file that was read, and its stamp then.
        links: each path that leads somewhere else, and where it led.
        names: the variables that were looked for.
        digest: of their values, see ``digest``.
    """

    __slots__ = ("digest", "links", "names", "stamps")

    def __init__(
        self, stamps: Mapping[str, str], links: Mapping[str, str], names: Sequence[str], digest_then: str
    ) -> None:
        self.stamps = stamps
        self.links = links
        self.names = names
        self.digest = digest_then

    def hold(self, environ: Mapping[str, str]) -> bool:
        """Whether nothing of it has changed."""
        return (
            digest(self.names, environ) == self.digest
            and all(stamp(file) == then for file, then in self.stamps.items())
            and all(os.path.realpath(link) == place for link, place in self.links.items())
        )


class Note:
    """A note: how to start the server, and the rest of what is known of it as JSON (see ``gateway.stdio.brief``)."""

    __slots__ = ("brief", "launch", "sources")

    def __init__(self, sources: Sources, launch: Launch, brief: str) -> None:
        self.sources = sources
        self.launch = launch
        self.brief = brief


def recall(fleet_file: str, server: str, environ: Mapping[str, str]) -> Note | None:
    """The note on a server, if there is one that still holds. ``fleet_file`` is absolute."""
    place = place_of(fleet_file, server, environ)
    try:
        text = None if place is None else _own_text(place)
        note = None if text is None else _read(text, environ)
    except (OSError, ValueError, LookupError, StopIteration):  # damaged, or of another version
        return None
    return note


def folder_of(environ: Mapping[str, str]) -> str | None:
    """Where the notes of this user are; None where no home is known."""
    cache = environ.get("XDG_CACHE_HOME", "")
    if not cache.startswith("/"):
        home = environ.get("HOME", "")
        cache = home + "/.cache" if home.startswith("/") else ""
    return cache + "/mcp-medic/stdio" if cache else None


def place_of(fleet_file: str, server: str, environ: Mapping[str, str]) -> str | None:
    """The file of one note; None where there can be none."""
    folder = folder_of(environ)
    name = server + "@" + fleet_file.replace("%", "%25").replace("/", "%2F")
    if folder is None or END in name or len(os.fsencode(name)) > _MAX_NAME_BYTES or "/" in server:
        return None
    return folder + "/" + name


def fleet_file_of(name: str) -> str:
    """The fleet file that the note of this name is about."""
    return name.partition("@")[2].replace("%2F", "/").replace("%25", "%")


def stamp(file: str) -> str:
    """Changes whenever the file does; empty when it cannot be seen."""
    try:
        seen = os.stat(file)  # noqa: PTH116 - see above
    except (OSError, ValueError):
        return ""
    return f"{seen.st_mtime_ns} {seen.st_ctime_ns} {seen.st_size} {seen.st_ino} {seen.st_dev}"


def digest(names: Iterable[str], environ: Mapping[str, str]) -> str:
    """Tells whether variables have the values that they had. Those that are no secret are told as they are."""
    values = [(name, environ[name]) for name in names if name in environ]
    if all(name in OPEN for name, _ in values):
        return END.join(map("=".join, values)).replace(END, " ")
    # hashlib's own, but hashlib would bring all of OpenSSL: milliseconds and megabytes of each client's gateway.
    from _blake2 import blake2s  # noqa: PLC0415

    return blake2s(os.fsencode(END.join(map("=".join, values)))).hexdigest()


def hidden(text: str, names: Iterable[str], environ: Mapping[str, str]) -> str:
    """The text with names where values of variables were."""
    if END in text or NAMED in text:
        raise ValueError("no note holds such characters")
    parts = [text]
    for name in sorted(set(names) - OPEN, key=lambda each: -len(environ.get(each, ""))):
        value = environ.get(name, "")
        if value:  # what is between two marks is a name already
            parts = [each for part in parts for each in _parted(part, name, value)]
    return "".join(parts)


def _parted(part: str, name: str, value: str) -> Iterator[str]:
    if part.startswith(NAMED):
        yield part
        return
    for number, piece in enumerate(part.split(value)):
        if number:
            yield NAMED + name + NAMED
        yield piece


def shown(text: str, environ: Mapping[str, str]) -> str:
    """The text as it was before ``hidden``."""
    if NAMED not in text:
        return text
    return "".join(environ[part] if number % 2 else part for number, part in enumerate(text.split(NAMED)))


def written(note: Note, environ: Mapping[str, str]) -> str:
    """A note as text.

    Raises:
        ValueError: it holds what no note can hold.
    """
    sources, launch = note.sources, note.launch

    def safe(texts: Iterable[str]) -> list[str]:
        return [hidden(each, sources.names, environ) for each in texts]

    lists = (
        safe(each for pair in sources.stamps.items() for each in pair),
        safe(each for pair in sources.links.items() for each in pair),
        sources.names,
        safe(launch.argv),
        safe(each for pair in launch.env.items() for each in pair),
    )
    counted = [each for found in lists for each in (str(len(found)), *found)]
    (folder,) = safe([launch.folder])
    return END.join([MAGIC, sources.digest, folder, "seat" if launch.needs_seat else "", *counted, note.brief, MAGIC])


def _read(text: str, environ: Mapping[str, str]) -> Note | None:
    fields = iter(text.split(END))
    if next(fields) != MAGIC:
        return None
    digest_then, folder, seat = next(fields), next(fields), next(fields)
    stamps, links, names, argv, env = [_list(fields) for _ in range(5)]
    brief = next(fields)
    if next(fields) != MAGIC or digest(names, environ) != digest_then:
        return None
    stamps, links, argv, env = [[shown(each, environ) for each in found] for found in (stamps, links, argv, env)]
    sources = Sources(_pairs(stamps), _pairs(links), names, digest_then)
    if not sources.hold(environ):
        return None
    return Note(sources, Launch(argv, _pairs(env), shown(folder, environ), needs_seat=bool(seat)), brief)


def _list(fields: Iterator[str]) -> list[str]:
    return [next(fields) for _ in range(int(next(fields)))]


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _own_text(place: str) -> str | None:
    """The file's text when nobody else can have written it."""
    fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        seen = os.fstat(fd)
        if seen.st_uid != os.getuid() or seen.st_mode & 0o077 or seen.st_size > _MAX_BYTES:
            return None
        return os.fsdecode(os.read(fd, _MAX_BYTES))
    finally:
        os.close(fd)
