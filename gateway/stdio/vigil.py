"""What is done about a server that runs and says nothing: it is asked whether it lives, and calls are given up."""

from __future__ import annotations

from gateway.stdio.conversation import Conversation, cancellation
from gateway.stdio.handshake import Purpose
from gateway.stdio.outlet import Outlet
from gateway.stdio.pulse import ANSWER_SECONDS, Pulse
from gateway.stdio.replies import Replies
from gateway.vitals import Vitals


class Vigil:
    """Over the servers of one conversation, one after the other."""

    def __init__(self, talk: Conversation, vitals: Vitals, replies: Replies) -> None:
        self._talk = talk
        self._vitals = vitals
        self._replies = replies
        self._pulse = Pulse()

    @property
    def hung(self) -> bool:
        """Whether a call is overdue and the server did not answer the gateway either."""
        return self._pulse.hung

    def begin(self) -> None:
        """Another server is ready."""
        self._pulse.reset()

    def answered(self, now: float) -> None:
        """The server answered something, whomever."""
        self._pulse.answered(now)

    def keep(self, now: float, to_server: Outlet | None) -> None:
        """Do what is due by now."""
        self._feel_pulse(now, to_server)
        # Where ``enforce`` names timeouts, end the calls that the server leaves without a word for too long.
        for identity in self._talk.give_up(now) if self._vitals.admission.cuts_silence else ():
            self._replies.given_up([identity])
            if to_server is not None:
                to_server.say(cancellation(identity, "no answer in time"))

    def _feel_pulse(self, now: float, to_server: Outlet | None) -> None:
        if to_server is not None and self._pulse.due(now, overdue=self._talk.overdue(now)):
            line = self._talk.ask(Purpose.LIVENESS)
            if line is not None:
                to_server.say(line)
                self._pulse.asked(now)
        if self._pulse.check(now):
            self._vitals.standing.silent(
                f"hung: a call is overdue and the server does not answer within {ANSWER_SECONDS:g} s"
            )
