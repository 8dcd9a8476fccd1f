"""The troubleshooting trees as data: every walk through them ends in a sentence and in a command that can be typed."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

import console.__main__  # noqa: F401 - every command joins its group
from console.diagnosing.diagnosis import ANSWERS
from console.diagnosing.trees import CHOICE, FIRST, QUESTIONS, TREE_OF, Tree
from console.diagnosing.walking import Ending, Finding, Question, Said, Walk
from console.root import main

STARTS = [CHOICE, *FIRST.values()]
PROGRAMS = {"mcp-gateway", "mcp-exporter", "mcp-receiver", "systemctl", "timedatectl", "promtool", "amtool"}
LATER = {"recommendations"}
"""Commands that other modules bring."""

ENDINGS = [leads for question in QUESTIONS.values() for leads in map(question.leads, Said) if isinstance(leads, Ending)]


def test_every_question_has_somebody_who_answers_and_nobody_answers_another() -> None:
    assert set(ANSWERS) == set(QUESTIONS)


def test_every_question_is_reached_from_a_start() -> None:
    reached: set[str] = set()
    left = list(STARTS)
    while left:
        name = left.pop()
        if name not in reached:
            reached.add(name)
            left += [leads for leads in map(QUESTIONS[name].leads, Said) if isinstance(leads, str)]
    assert reached == set(QUESTIONS)


@given(
    st.sampled_from(STARTS),
    st.dictionaries(st.sampled_from(sorted(QUESTIONS)), st.sampled_from(Said)),
    st.sampled_from(Said),
    st.text(max_size=40),
    st.text(max_size=10),
)
def test_every_walk_ends_in_a_sentence_and_a_command(
    start: str, answers: dict[str, Said], otherwise: Said, saw: str, command: str
) -> None:
    walk = Walk(QUESTIONS, "codex", " --config x.yml", start)
    while walk.conclusion is None:
        asked = [step.question for step in walk.steps]
        assert walk.at not in asked, "a walk that asks twice never ends"
        walk = walk.answered(Finding(answers.get(walk.at, otherwise), saw, command))
    assert walk.conclusion.sentence
    assert walk.conclusion.command
    assert "{server}" not in walk.conclusion.sentence.replace(saw, "")
    assert [step.saw for step in walk.steps] == [saw] * len(walk.steps)


@given(st.text(max_size=40))
def test_a_walk_that_finds_nothing_says_how_much_stayed_open(saw: str) -> None:
    walk = Walk(QUESTIONS, "codex", "", FIRST[Tree.STARTUP])
    while walk.conclusion is None:
        walk = walk.answered(Finding(Said.UNKNOWN, saw))
    assert not walk.conclusion.ill
    assert walk.conclusion.sentence.endswith(f"; {len(walk.steps)} questions stayed open")


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.command[:60])
def test_what_a_walk_says_to_type_can_be_typed(ending: Ending) -> None:
    first, *words = shlex.split(ending.command.format(server="codex", config=""))
    if first != "mcp-medic":
        assert first in PROGRAMS
        return
    command = main.get_command(None, words[0])  # type: ignore[arg-type]  # the group needs no context to look one up
    if command is None:
        assert words[0] in LATER
        return
    command.make_context(words[0], words[1:]).close()


def test_what_was_seen_is_no_template() -> None:
    walk = Walk({"q": Question("?", Ending("{saw}", "a"), "q", "q")}, "codex", "", "q")
    told = walk.answered(Finding(Said.YES, "{config} {0} {server!r}")).conclusion
    assert told is not None
    assert told.sentence == "{config} {0} {server!r}"


def test_each_tree_keeps_to_itself() -> None:
    for name, tree in TREE_OF.items():
        inner = [leads for leads in map(QUESTIONS[name].leads, Said) if isinstance(leads, str)]
        assert {TREE_OF[each] for each in inner} <= {tree}
