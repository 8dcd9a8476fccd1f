"""HTML as a browser's parser reads it, as far as a test asks: elements, their texts, and what is wrong with them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_VOID: Final = frozenset({"meta", "link", "input", "br", "path", "line", "circle", "rect"})
_ENDS_ITSELF: Final = frozenset({"tr", "th", "td", "li", "option"})
_NAMED_BY: Final = ("aria-label", "aria-labelledby", "title")


@dataclass
class Element:
    """One element: its parent, its attributes, all text inside it."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def inside(self, tag: str) -> Element | None:
        """The nearest element of that tag around it."""
        above = self.parent
        while above is not None and above.tag != tag:
            above = above.parent
        return above

    def get(self, name: str) -> str:
        return self.attributes.get(name, "")


class Document(HTMLParser):
    """A parsed document; ``mistakes`` are tags that do not close what is open."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[Element] = []
        self.mistakes: list[str] = []
        self._open: list[Element] = []
        self.feed(text)
        self.close()
        self.mistakes += [f"<{each.tag}> stays open" for each in self._open if each.tag not in _ENDS_ITSELF]

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """The elements of a tag with these attributes, in order; ``class_`` is one of its classes."""
        wanted = attributes.pop("class_", "")
        return [
            each
            for each in self.elements
            if each.tag == tag
            and all(each.get(name) == value for name, value in attributes.items())
            and (not wanted or wanted in each.get("class").split())
        ]

    def one(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        assert len(found) == 1, f"{len(found)} of <{tag} {attributes}>"
        return found[0]

    @property
    def text(self) -> str:
        return self.one("html").text

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _ENDS_ITSELF:
            self._end_before(tag)
        element = Element(tag, {name: value or "" for name, value in attrs}, self._open[-1] if self._open else None)
        if element.parent is not None:
            element.parent.children.append(element)
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        while self._open and self._open[-1].tag in _ENDS_ITSELF and self._open[-1].tag != tag:
            self._open.pop()
        if not self._open or self._open[-1].tag != tag:
            self.mistakes.append(f"</{tag}> closes nothing")
            return
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def _end_before(self, tag: str) -> None:
        ends = {"td": {"td", "th"}, "th": {"td", "th"}, "tr": {"td", "th", "tr"}}.get(tag, {tag})
        while self._open and self._open[-1].tag in ends:
            self._open.pop()


def problems(document: Document) -> list[str]:
    """What somebody with a keyboard, a screen reader or a strict browser would stumble over."""
    found = list(document.mistakes)
    ids = [each.get("id") for each in document.elements if each.get("id")]
    found += [f"the id {name} stands twice" for name in set(ids) if ids.count(name) > 1]
    for each in document.elements:
        found += [
            f"<{each.tag} {name}> is an inline script or style" for name in each.attributes if name.startswith("on")
        ]
        found += [f"<{each.tag}> has a style of its own"] * ("style" in each.attributes or each.tag == "style")
        if each.tag in {"a", "button", "summary", "h1", "h2", "h3"} and not _is_named(each):
            found.append(f"<{each.tag}> has no name")
        if each.tag in {"input", "select"} and each.get("type") != "hidden" and not _is_labelled(each, document):
            found.append(f"<{each.tag} name={each.get('name')}> has no label")
        for reference in ("aria-labelledby", "aria-describedby"):
            found += [f"{reference}={name} leads nowhere" for name in each.get(reference).split() if name not in ids]
        if each.tag == "form" and each.get("method") == "post" and not _has_seal(each, document):
            found.append(f"the form to {each.get('action')} has no seal")
        if each.tag == "svg" and not (each.get("aria-hidden") or each.get("aria-label")):
            found.append("a picture has no words")
    found += _headings(document)
    if len(document.all("main")) != 1 or not document.one("html").get("lang") or not document.all("title")[0].text:
        found.append("no main, language or title")
    return found


def _is_named(element: Element) -> bool:
    return bool(element.text.strip() or any(element.get(name) for name in _NAMED_BY))


def _is_labelled(element: Element, document: Document) -> bool:
    around = element.inside("label")
    labels = document.all("label", **{"for": element.get("id")}) if element.get("id") else []
    return around is not None or bool(labels)


def _has_seal(form: Element, document: Document) -> bool:
    return any(each.inside("form") is form and each.get("value") for each in document.all("input", name="csrf"))


def _headings(document: Document) -> list[str]:
    levels = [int(each.tag[1]) for each in document.elements if each.tag in {"h1", "h2", "h3", "h4"}]
    skipped = [f"a heading goes from {a} to {b}" for a, b in itertools.pairwise(levels) if b > a + 1]
    return skipped if levels.count(1) == 1 else [*skipped, f"{levels.count(1)} headings of the first level"]
