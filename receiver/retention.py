"""Which entries of the journal may be forgotten: those of incidents that are over for long enough. Pure.

A fold over what is left must be the fold over everything, but for what was forgotten. So an incident goes as a whole
and only where nothing that stays rests on it:

- A delivery may belong to incidents of several servers; then they go together, or not at all.
- What an incident leaves behind (settings that treatment lowered, log levels) the next one begins with. Incidents that
  end with what the first of them began with may go together; one alone where it left what it found. As long as they
  stay, the one stays that left them what they began with.
- A person's stop or start, pauses, deployments, baselines and proven configurations stay.
- Nothing that a budget still counts is that old: see ``horizon``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from receiver.alerts import is_judged
from receiver.book import Book
from receiver.events import OF_AN_INCIDENT, ActionAsked, Delivered, Entry, IncidentId, Quarantined
from receiver.vocabulary import ByHand

if TYPE_CHECKING:
    from fleet.inventory import Limits

DAY: Final = 86_400.0


def horizon(days: float, limits: Limits, now: float) -> float:
    """What was written before this moment (UNIX seconds) is old: older than ``days``, and than any budget looks."""
    budgets = (limits.actions, limits.fleet_actions, limits.recovery_actions)
    looked_back = max(DAY, limits.cooldown_seconds, *(each.per_seconds for each in budgets))
    return now - max(days * DAY, looked_back)


def names_in(entries: Iterable[Entry]) -> Iterator[str]:
    """The servers that were treated or asked for: those that had incidents, also where fleet.yml has them no more."""
    for entry in entries:
        if isinstance(entry.event, (*OF_AN_INCIDENT, ActionAsked)):
            yield entry.event.server


@dataclass(frozen=True, slots=True)
class Removal:
    """What may go: numbers of entries, and the incidents that they were."""

    numbers: frozenset[int]
    incidents: frozenset[IncidentId]


@dataclass(slots=True)
class _Course:
    """One incident as the survey sees it; ``began_with`` is what it was given by those before it."""

    id: IncidentId
    began_with: object
    numbers: list[int] = field(default_factory=list)
    is_old: bool = True
    is_over: bool = False
    stays: bool = False


class Survey:
    """Sees every entry in order, then says what may go."""

    def __init__(self, servers: Collection[str], cutoff: float) -> None:
        """``servers`` are all that ever had an incident; ``cutoff`` is the horizon."""
        self._cutoff = cutoff
        self._servers = frozenset(servers)
        self.book = Book(servers)
        self._courses: dict[IncidentId, _Course] = {}
        self._open: dict[str, _Course] = {}
        self._together = _Groups()
        self._rests: list[tuple[IncidentId, IncidentId]] = []
        self._unsettled: dict[str, list[_Course]] = {}
        self._loose: list[int] = []

    def see(self, entry: Entry) -> None:
        """The next entry."""
        event = entry.event
        for server in self._servers_of(entry):
            self._begin(entry, server)
        self.book.apply(entry)
        courses = self._courses_of(entry)
        for course in courses:
            course.numbers.append(entry.seq)
            course.is_old = course.is_old and entry.at < self._cutoff
            course.stays = course.stays or _is_of_a_person(entry)
            self._together.join(courses[0].id, course.id)
        if isinstance(event, OF_AN_INCIDENT):
            self._end(event.server)
        is_forgettable = isinstance(event, (*OF_AN_INCIDENT, Delivered, ActionAsked, Quarantined))
        if is_forgettable and not courses and entry.at < self._cutoff:
            self._loose.append(entry.seq)

    def removable(self) -> Removal:
        """What may go, after everything was seen."""
        for unsettled in self._unsettled.values():
            for course in unsettled:
                course.stays = True
        held = {
            self._together.of(course.id)
            for course in self._courses.values()
            if course.stays or not course.is_over or not course.is_old
        }
        # What stays keeps what it began with, and so on.
        while kept := {self._together.of(on) for one, on in self._rests if self._together.of(one) in held} - held:
            held |= kept
        gone = [course for course in self._courses.values() if self._together.of(course.id) not in held]
        numbers = {number for course in gone for number in course.numbers}
        return Removal(frozenset(numbers.union(self._loose)), frozenset(course.id for course in gone))

    def _servers_of(self, entry: Entry) -> list[str]:
        """The servers whose incident the entry could open."""
        event = entry.event
        if isinstance(event, Delivered):
            named = {alert.server for alert in event.alerts if is_judged(alert)}
            return sorted(named & self._servers)
        if isinstance(event, ActionAsked) and event.refused is None and event.server in self._servers:
            return [event.server]
        return []

    def _begin(self, entry: Entry, server: str) -> None:
        """Note what an incident would begin with, before it does."""
        if server not in self._open:
            self._open[server] = _Course(IncidentId(f"{server}-{entry.seq}"), self.book.left_behind(server))

    def _courses_of(self, entry: Entry) -> list[_Course]:
        """The incidents that the entry belongs to, after the book has learned it."""
        event = entry.event
        if isinstance(event, OF_AN_INCIDENT):
            known = self._courses.get(event.incident)
            return [] if known is None else [known]
        found = []
        for server in self._servers_of(entry):
            if self.book.open_incident(server) is None:  # an end of what never began here
                del self._open[server]
                continue
            course = self._open[server]
            self._courses[course.id] = course
            found.append(course)
        return found

    def _end(self, server: str) -> None:
        """An incident that is over joins those before it back to where its server stood as it stands now."""
        if self.book.open_incident(server) is not None or server not in self._open:
            return
        course = self._open.pop(server)
        course.is_over = True
        now, before = self.book.left_behind(server), self._unsettled.setdefault(server, [])
        before.append(course)
        first = next((index for index, each in enumerate(before) if each.began_with == now), None)
        if first is None:
            return
        for each in before[first:]:
            self._together.join(before[first].id, each.id)
        if first:
            self._rests.append((course.id, before[first - 1].id))
        del before[first:]


class _Groups:
    """Which incidents go together."""

    def __init__(self) -> None:
        self._of: dict[IncidentId, IncidentId] = {}

    def of(self, one: IncidentId) -> IncidentId:
        """The name of its group."""
        while (other := self._of.get(one, one)) != one:
            self._of[one] = self._of.get(other, other)
            one = other
        return one

    def join(self, one: IncidentId, other: IncidentId) -> None:
        """Let them go together from now on."""
        first, second = self.of(one), self.of(other)
        if first != second:
            self._of[second] = first


def _is_of_a_person(entry: Entry) -> bool:
    """A stop, which pauses the server, and a start, which ends that pause."""
    event = entry.event
    return isinstance(event, ActionAsked) and event.action in {ByHand.STOP, ByHand.START}
