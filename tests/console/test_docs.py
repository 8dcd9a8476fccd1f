"""docs/console.md and docs/guide.md: every command is there as it is, and what they say to type can be typed."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace

import click
import pytest

from console.__main__ import main
from console.frame import REGISTRY
from stack import console_page
from stack.console_page import PAGE, definition_names, definitions, drifted, problems, reports_of, said_by, said_in
from stack.console_scene import Shot
from stack.shapes import Shape, plain, shape_of
from stack.tools import PROJECT

GUIDE = (PROJECT / "docs" / "guide.md").read_text(encoding="utf-8")
TABLE = "\x1b[1mfigure\x1b[0m  \x1b[1mnow\x1b[0m \nmemory  412 MB\nqueue 3  1\n\n\x1b[1;31mcritical\x1b[0m\nnot a row\n"


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert problems(page()) == []
    assert console_page.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("text", "other", "problem"),
    [
        ("Say how each server is, in one word", "Say it", "performance: its help is another"),
        ("### alerts\n", "### alarms\n", "it has the headings"),
        ('"unreachable"', '"unreached"', "its schema is another"),
        ("$ mcp-medic incidents", "$ mcp-medic", "incidents: nothing is shown"),
    ],
)
def test_a_page_that_drifted_is_named(text: str, other: str, problem: str) -> None:
    assert any(problem in found for found in problems(page().replace(text, other)))


def test_every_report_has_a_schema_with_its_fields() -> None:
    found, called = definitions(), definition_names()
    for name in REGISTRY:
        for report in reports_of(name):
            definition = found[called[report]]
            assert set(definition["properties"]) == set(report.__struct_fields__)
            assert definition["description"]


def test_the_page_names_no_place_of_the_machine_that_made_it() -> None:
    assert str(PROJECT) not in page()
    assert not re.search(r"/tmp/|/root/|/home/(?!codex)", page())
    assert "Traceback" not in page()


def test_nothing_on_the_page_is_wider_than_a_terminal() -> None:
    blocks = re.findall(r"```text\n\$ (mcp-medic .+?)\n(.*?)```", page(), re.DOTALL)
    assert len(blocks) > len(main.commands)
    for typed, said in blocks:
        # What is not a table is one line a finding: the terminal breaks it.
        if not typed.startswith("mcp-medic check-config") and "mcp-medic: " not in said:
            assert max(map(len, said.splitlines())) <= 80, typed


def test_a_shape_is_what_is_bold_and_the_names_of_rows() -> None:
    shape = shape_of(TABLE)
    assert shape == Shape(frozenset({"figure", "now"}), frozenset({"memory", "queue #"}))
    assert Shape.read(shape.written()) == shape
    assert plain(TABLE).splitlines()[1] == "memory  412 MB"


def test_pages_that_differ_in_figures_only_have_not_drifted() -> None:
    shot = Shot(("performance",), 0, "memory 412 MB", shape_of(TABLE), steady=True)
    now = replace(shot, text="memory 3 MB")
    renamed = replace(shot, shape=shape_of(TABLE.replace("memory", "storage")))

    def made(*shots: Shot) -> str:
        return console_page.page(said_by(shots, str))

    assert drifted(made(shot), made(now)) == []
    assert drifted(made(shot), made(renamed)) == ["mcp-medic performance (1): rows memory, storage are not in both"]
    assert drifted(made(replace(shot, steady=False)), made(replace(renamed, steady=False))) == []
    assert drifted(made(shot), made(shot, shot)) == ["mcp-medic performance (2): is not in the page"]
    assert drifted(made(shot, shot), made(shot)) == []
    odd = replace(shot, steady=False, shape=shape_of(TABLE.replace("figure", "number")))
    assert drifted(made(shot), made(odd)) == ["mcp-medic performance (1): headings number are not in both"]


def test_the_page_made_of_its_own_parts_is_the_page() -> None:
    assert console_page.page(said_in(page())) == page()


def ours() -> list[str]:
    """Every ``mcp-medic ...`` that the guide's page tells to type."""
    return [each.partition(r"\|")[0].strip() for each in re.findall(r"`(mcp-medic [^`]+)`", GUIDE)]


@pytest.mark.parametrize("typed", sorted(set(ours())))
def test_what_the_guides_page_tells_to_type_can_be_typed(typed: str) -> None:
    _, name, *arguments = shlex.split(typed.replace("SERVER", "codex"))
    command = main.commands[name]
    with click.Context(command, info_name=name) as context:
        command.parse_args(context, arguments)


GUIDES = (
    "codex-mcp", "codex-mcp-stop", "codex-mcp-restart", "codex-mcp-test", "codex-mcp-test --dry-run", "mcp-performance",
    "mcp-metrics", "mcp-metrics --detailed --period=30d", "mcp-metrics --capacity-planning", "mcp-alerts",
    "mcp-alerts --history", "mcp-recommendations", "mcp-recommendations --config-tuning", "mcp-optimize",
    "mcp-optimize --suggestions", "mcp-optimize --benchmark", "mcp-reset-cache", "mcp-health-check", "mcp-debug-mode",
)  # fmt: skip


def test_every_command_of_the_operators_guide_is_mapped() -> None:
    mapped = re.findall(r"^\| `npm run ([^`]+)` \| .*`mcp-medic ", GUIDE, re.MULTILINE)
    assert set(GUIDES) <= set(mapped)
    assert len(mapped) == len(set(mapped))


def test_links_of_the_two_pages_lead_somewhere() -> None:
    for text in (page(), GUIDE):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            assert (PROJECT / "docs" / target).exists(), target


def test_links_inside_the_page_have_their_heading() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", page(), re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", page())) <= headings
