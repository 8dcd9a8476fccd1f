"""Every text of the style sheet can be read in both schemes: WCAG 2.2 AA, 4.5 to 1."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

SHEET = files("receiver.page").joinpath("static", "page.css").read_text(encoding="utf-8")
TONES = ("good", "ill", "warn", "busy", "person", "quiet")
PAIRS = [
    *((tone, f"{tone}-bg") for tone in TONES),
    *((text, ground) for text in ("ink", "soft", "accent") for ground in ("bg", "card")),
    *((tone, "card") for tone in TONES),
    *((text, "code") for text in ("ink", "soft")),
    ("ill", "bg"),
    ("on-accent", "accent"),
    ("bg", "ink"),
    ("ink", "quiet-bg"),
]


def colours(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)[:2]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", light if scheme == "light" else dark))


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_a_text_stands_out_from_its_ground(scheme: str, text: str, ground: str) -> None:
    known = colours(scheme)
    assert contrast(known[text], known[ground]) >= 4.5


def test_both_schemes_have_the_same_colours_and_nothing_else_has_any() -> None:
    assert colours("light").keys() == colours("dark").keys()
    rest = SHEET.split("* { box-sizing", 1)[1]
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rest)


def test_nothing_comes_from_elsewhere() -> None:
    assert "url(" not in SHEET
    assert "@import" not in SHEET
