"""Opens a YAML file that a person wrote: what is no readable document is told with its line and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import yaml

from fleet.parsing import Document, Value

_MAX_DEPTH: Final = 32


def open_document(file: Path, environ: Mapping[str, str]) -> tuple[Document, Value]:
    """Read and parse ``file`` as one YAML document.

    Raises:
        ConfigError: it cannot be read, is not UTF-8, is not YAML, or nests deeper than 32 levels.
    """
    document = Document(file, environ)
    try:
        text = file.read_bytes().decode("utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        document.report(0, "", f"cannot be read: {error.strerror}", "Give its path by --config or MCP_MEDIC_CONFIG")
    except UnicodeDecodeError as error:
        document.report(0, "", f"is not UTF-8 at byte {error.start}", "Save the file as UTF-8")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 0 if mark is None else mark.line + 1
        document.report(line, "", f"is not YAML: {error.problem or error.context}", "Mend the syntax there")
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = "nests too deep" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        document.report(0, "", f"is not YAML: {reason}", "Mend the syntax")
    else:
        root = node if node is not None else yaml.MappingNode("tag:yaml.org,2002:map", [], *_start_marks(file))
        if _too_deep(root):
            document.report(1, "", f"nests deeper than {_MAX_DEPTH} levels", "No setting needs that; flatten it")
        document.fail_if_any()
        return document, Value(document, root, "")
    document.fail_if_any()
    raise AssertionError("unreachable: a problem was reported above")


def _start_marks(file: Path) -> tuple[yaml.Mark, yaml.Mark]:
    mark = yaml.Mark(str(file), 0, 0, 0, "", 0)
    return mark, mark


def _too_deep(root: yaml.Node) -> bool:
    level, depth, seen = [root], 0, {id(root)}
    while level and depth <= _MAX_DEPTH:
        following: list[yaml.Node] = []
        for node in level:
            for child in _children(node):
                # An alias that contains itself would be walked for ever.
                if id(child) not in seen:
                    seen.add(id(child))
                    following.append(child)
        level, depth = following, depth + 1
    return depth > _MAX_DEPTH


def _children(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return [child for child in node.value if isinstance(child, yaml.Node)]
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair if isinstance(child, yaml.Node)]
    return []
