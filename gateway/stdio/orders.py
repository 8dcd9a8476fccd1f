"""Orders of the control socket: what each of them asks of an instance in its state, and who hears how it went. Pure.

One order is under way at a time; it is answered exactly once, whatever becomes of the server meanwhile.
"""

from __future__ import annotations

import enum

from gateway.stdio.states import FAILED, REFUSED, SUCCEEDED, Act, Order, State, Then

_MOVING = frozenset({State.ENDING, State.GREETING})
_NO_SERVER = frozenset({State.WAITING_FOR_SEAT, State.REFUSED})


class Task(enum.Enum):
    """What an instance does for an order: nothing, because it is answered; or one of these, and then answers it."""

    NOTHING = enum.auto()
    START = enum.auto()
    STAY_DOWN = enum.auto()
    REPLACE = enum.auto()
    STOP = enum.auto()
    END_IDLE = enum.auto()


_WITH_SERVER = {Act.RESTART: Task.REPLACE, Act.STOP: Task.STOP}
_WITHOUT = {Act.RESTART: Task.START, Act.START: Task.START, Act.STOP: Task.STAY_DOWN}

FOLLOWS = {Task.REPLACE: (Then.RESTART, "being restarted"), Task.STOP: (Then.STOP, "stopped on request")}
"""What follows when the server has ended for the order, and what clients are told meanwhile."""


class Orders:
    """One instance's."""

    def __init__(self) -> None:
        self._under_way: Order | None = None

    def take(self, order: Order, state: State, *, runs: bool, client_gone: bool) -> Task:
        """What to do. ``runs``: there is a server process."""
        if self._under_way is not None or client_gone or state in _MOVING:
            order.reply(REFUSED, "another act is under way")
            return Task.NOTHING
        if state in _NO_SERVER:
            order.reply(REFUSED, "this instance has no server")
            return Task.NOTHING
        if runs and order.act is Act.START:
            order.reply(SUCCEEDED, "already running")
            return Task.NOTHING
        self._under_way = order
        if order.act is Act.END_IDLE:
            return Task.END_IDLE
        return (_WITH_SERVER if runs else _WITHOUT)[order.act]

    def done(self, detail: str) -> None:
        """What was ordered is done; nothing happens when nothing was."""
        self._answer(SUCCEEDED, detail)

    def failed(self, detail: str) -> None:
        """What was ordered could not be done; nothing happens when nothing was."""
        self._answer(FAILED, detail)

    def _answer(self, outcome: str, detail: str) -> None:
        order, self._under_way = self._under_way, None
        if order is not None:
            order.reply(outcome, detail)
