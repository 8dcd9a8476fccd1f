"""What may be kept and shown of a text that somebody else wrote: whatever looks like a credential is taken out. Pure.

It errs on the side of hiding. Every repetition is bounded or cannot be matched in two ways, so no text makes it slow.
"""

from __future__ import annotations

import re
from typing import Final

from fleet.errors import SECRET
from fleet.sensitive import CREDENTIALS

_HIDDEN: Final = SECRET.encode()

_PRIVATE_KEY: Final = re.compile(
    rb"-----BEGIN [A-Z0-9 ]{0,60}?PRIVATE KEY[^\n]{0,20}?-----"
    rb"(?:(?!-----END )[\s\S])*+(?:-----END [A-Z0-9 ]{0,60}+-----)?"
)
"""A key in PEM, over as many lines as it has; what was cut off behind its beginning belongs to it."""

_END_OF_PRIVATE_KEY: Final = re.compile(
    rb"(?m)^(?:[A-Za-z0-9+/=]{20,100}+\r?\n){1,200}+(?:[A-Za-z0-9+/=]{1,19}+\r?\n)?-----END [A-Z0-9 ]{0,60}+-----"
)
"""Where the text begins in the middle of one."""

_COOKIE: Final = re.compile(rb"(?i)(cookie[\\\"']{0,4}+\s{0,4}+[=:]\s{0,4}+[\\\"']{0,4}+)[^\"'\\\n]++")
_SHAPED: Final = re.compile(
    rb"\b(?:sk-[\w-]{8,400}+|gh[pousr]_\w{8,400}+|github_pat_\w{8,400}+|xox[abpr]-[\w-]{8,400}+"
    rb"|eyJ[\w-]{6,4000}+\.[\w.-]{1,8000}+)"
)
"""What begins as a key or a token does, also where it is too short to be counted as one."""

_IN_URL: Final = re.compile(rb"(?i)\b([a-z][a-z0-9+.-]{0,30}+://)[^\s/@\"']{1,500}+@")
_BASIC: Final = re.compile(rb"(?i)\b(basic\s{1,4}+)(?=[A-Za-z+/]{0,200}[0-9=])[A-Za-z0-9+/]{6,2000}+={0,2}+")
_NAMED: Final = re.compile(
    rb"""(?ix)
    ( (?: token(?!s) | secret | passw(?:or)?d | passphrase | credential | authorization
        | api[_-]?key | access[_-]?key | private[_-]?key | session[_-]?id )
      [\w.-]{0,40}+ [\\"']{0,4}+ \s{0,4}+ [=:] \s{0,4}+ (?:(?:bearer|basic|token)\s{1,4}+)?+ )
    (?!<secret>)
    (?: \\{1,4}+["'] [^"'\\\n]{0,4000}+      # a quoted value in JSON that is quoted itself
      | "(?:[^"\\\n]|\\.){0,4000}+"?+
      | '(?:[^'\\\n]|\\.){0,4000}+'?+
      | [^\s,;&"'}\]]++ )
    """
)
"""A name that says that a secret follows, and what follows."""


def redacted(text: bytes) -> bytes:
    """``text``, any number of lines, with ``<secret>`` where something looked like a credential."""
    if b"PRIVATE KEY" in text:
        text = _END_OF_PRIVATE_KEY.sub(_HIDDEN, _PRIVATE_KEY.sub(_HIDDEN, text))
    for signs, regex in CREDENTIALS:
        if any(sign in text for sign in signs):
            text = regex.sub(_HIDDEN, text)
    text = _SHAPED.sub(_HIDDEN, text)
    text = _IN_URL.sub(rb"\1" + _HIDDEN + b"@", text)
    for named in (_COOKIE, _BASIC, _NAMED):
        text = named.sub(rb"\1" + _HIDDEN, text)
    return text
