"""The machine of a deployment against a small world: wherever it fails or is killed, the world is as it was."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.deploying.gates import PHASES, Course, Phase, Step, planned

CHANGES = (Step.PAUSE, Step.STOP, Step.CONFIGURE, Step.START)
plans = st.builds(planned, configures=st.booleans(), stops=st.booleans(), watches=st.booleans())


@dataclass
class Patient:
    """A server: which configuration its file has, which one it runs with, whether automation is paused by us."""

    file: str = "old"
    runs: str | None = "old"
    paused: bool = False
    done: list[Step] = field(default_factory=list)

    def take(self, step: Step, plan: Course) -> None:
        """What ``step`` does to it."""
        self.done.append(step)
        match step:
            case Step.PAUSE:
                self.paused = True
            case Step.STOP:
                self.runs = None
            case Step.STOP_NEW:
                # Whose method cannot stop a server, that one's restart ends the old process.
                self.runs = None if Step.STOP in plan.plan else self.runs
            case Step.CONFIGURE:
                self.file = "new"
            case Step.PUT_BACK:
                self.file = "old"
            case Step.START | Step.START_OLD:
                # What runs is left alone, as every method has it, unless it only knows to restart.
                self.runs = self.file if self.runs is None or Step.STOP not in plan.plan else self.runs
            case Step.RESUME:
                self.paused = False
            case _:
                pass


def walked(
    course: Course, patient: Patient, fails: Step | None = None, killed: tuple[Step, bool] | None = None
) -> Course:
    """To the end; ``fails`` goes wrong after its work, ``killed`` is where it ends: before or after its work."""
    while (step := course.following()) is not None:
        course = course.beginning(step)
        if killed == (step, False):
            return course
        patient.take(step, course)
        if killed == (step, True):
            return course
        course = course.ending(step, well=step is not fails)
    return course


@given(plans)
def test_every_gate_in_the_guides_order(plan: Course) -> None:
    patient = Patient()
    end = walked(plan, patient)
    assert end.settled
    phases = [PHASES[step] for step in patient.done if step in PHASES]
    assert phases == sorted(phases, key=list(Phase).index)
    assert patient.done[-1] is Step.RESUME
    assert (patient.file, patient.paused) == ("new" if Step.CONFIGURE in plan.plan else "old", False)
    assert patient.runs == patient.file


@given(plans, st.sampled_from(list(PHASES)))
def test_a_gate_that_fails_leaves_the_world_as_it_was(plan: Course, fails: Step) -> None:
    patient = Patient()
    end = walked(plan, patient, fails=fails)
    assert end.settled == (fails not in plan.plan)
    if fails in plan.plan:
        assert (patient.file, patient.runs, patient.paused) == ("old", "old", False)


@given(plans, st.sampled_from(list(PHASES)), st.booleans(), st.sampled_from(list(Step)), st.booleans())
def test_a_kill_anywhere_even_on_the_way_back_is_gone_back_from(
    plan: Course, first: Step, after: bool, second: Step, again: bool
) -> None:
    patient = Patient()
    cut = walked(plan, patient, killed=(first, after))
    if cut.settled:  # it was not in the plan
        return
    # The note is what was written: a step counts as begun before it changes anything.
    found = msgspec.json.decode(msgspec.json.encode(cut), type=Course).found()
    cut = walked(found, patient, killed=(second, again))
    walked(cut.found(), patient)
    assert (patient.file, patient.runs, patient.paused) == ("old", "old", False)


@given(plans)
def test_one_that_passed_every_gate_is_not_taken_back(plan: Course) -> None:
    patient = Patient()
    cut = walked(plan, patient, killed=(Step.RESUME, False))
    assert cut.found().following() is Step.RESUME
    walked(cut.found(), patient)
    assert (patient.file, patient.paused) == ("new" if Step.CONFIGURE in plan.plan else "old", False)


@given(plans)
def test_what_changes_nothing_has_no_way_back(plan: Course) -> None:
    assert plan.found().way_back() == ()
    patient = Patient()
    walked(plan, patient, fails=Step.CHECK)
    assert patient.done == [Step.CHECK]


@pytest.mark.parametrize("last", CHANGES)
def test_the_way_back_undoes_what_was_begun_and_nothing_else(last: Step) -> None:
    course = planned(configures=True, stops=True, watches=True)
    while last not in course.begun:
        step = course.following()
        assert step is not None
        course = course.beginning(step).ending(step, well=step is not last)
    expected = {
        Step.PAUSE: [Step.RESUME],
        Step.STOP: [Step.STOP_NEW, Step.START_OLD, Step.GREET_OLD, Step.RESUME],
        Step.CONFIGURE: [Step.STOP_NEW, Step.PUT_BACK, Step.START_OLD, Step.GREET_OLD, Step.RESUME],
        Step.START: [Step.STOP_NEW, Step.PUT_BACK, Step.START_OLD, Step.GREET_OLD, Step.RESUME],
    }
    assert list(course.way_back()) == expected[last]


def test_a_way_back_that_was_walked_is_walked_again_by_whoever_finds_it() -> None:
    """Its steps may have failed: the note says that they were tried, not that they worked."""
    course = planned(configures=True, stops=True, watches=True)
    end = walked(course, Patient(), fails=Step.TRY)
    assert (end.following(), end.found().following()) == (None, Step.STOP_NEW)
