"""Entries of a journal whose every text was chosen by somebody who means ill."""

from __future__ import annotations

from typing import Any, Final, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from fleet.signals import SignalName
from receiver.events import Entry, Event

MARK: Final = "zq7"
"""What no template says."""

PIECES: Final = (
    f"<script>{MARK}()</script>",
    f"<img src=x onerror={MARK}>",
    f'"><b id={MARK}>',
    f"' onmouseover='{MARK}",
    f"javascript:{MARK}",
    f"{{{{ {MARK} }}}}{{% for x in y %}}",
    f"</pre></main></title></style>{MARK}",
    f"<!--{MARK}",
    f"&lt;{MARK}&gt;&amp;",
    "\u202e\x00\x1b[31m\u2028",
    "restart",
    "set_config mcp.x=1",
    "",
)
TEXTS: Final = st.lists(st.sampled_from(PIECES), max_size=3).map("".join) | st.text(max_size=20)
NUMBERS: Final = st.floats(min_value=0, max_value=4e9) | st.sampled_from([0.0, 1e300])
FINDINGS: Final = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.integers(-(10**12), 10**12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.just("signals"), inner, max_size=3),
    max_leaves=8,
)


def of(kind: Any, name: str = "") -> st.SearchStrategy[Any]:
    """Values of a field."""
    if name == "findings":
        return st.dictionaries(TEXTS, FINDINGS, max_size=3)
    if name in {"signal", "signals", "stages"} and kind is str:
        return TEXTS | st.sampled_from(list(SignalName)).map(str)
    if kind is str or getattr(kind, "__supertype__", None) is str:
        return TEXTS
    if kind is float:
        return NUMBERS
    if get_origin(kind) is list:
        return st.lists(of(get_args(kind)[0], name), max_size=3)
    if get_origin(kind) is dict:
        key, value = get_args(kind)
        return st.dictionaries(of(key), of(value), max_size=3)
    options = [each for each in get_args(kind) if each is not type(None)]
    if options:
        return st.none() | st.one_of(*(of(each) for each in options))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return made(kind)
    return st.from_type(kind)


def made(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Values of a struct with every field chosen."""
    return st.builds(kind, **{field.name: of(field.type, field.name) for field in msgspec.structs.fields(kind)})


EVENTS: Final = st.one_of(*(made(kind) for kind in get_args(Event)))
ENTRIES: Final = st.lists(
    st.builds(Entry, seq=st.integers(1, 10**6), at=NUMBERS, event=EVENTS), max_size=6, unique_by=lambda entry: entry.seq
).map(lambda found: sorted(found, key=lambda entry: entry.seq))
