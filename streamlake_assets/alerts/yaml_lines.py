"""YAML with its lines: plain values, and the line on which each of them stands.

Belongs here: reading one document strictly (no duplicate keys, no anchors, no tags of its own). Stays out: what the
values mean (``rules_file``). Keys are texts as written: YAML 1.1 would read the key ``on`` as true.
"""

from typing import Any, Final, NamedTuple

import yaml

MOST_BYTES: Final = 262_144
MOST_DEPTH: Final = 20
Place = tuple[str | int, ...]
_PLAIN: Final = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "timestamp")}


class Problem(NamedTuple):
    """What is wrong with a file, and on which line, counted from 1."""

    line: int
    reason: str


class Document(NamedTuple):
    """The values of a file, the line of each place, and what is wrong with it."""

    value: Any
    lines: dict[Place, int]
    problems: list[Problem]

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(content: bytes) -> Document:
    """Read one YAML document; what cannot be read is among its problems."""
    if len(content) > MOST_BYTES:
        return Document(None, {}, [Problem(1, f"the file has {len(content):,} bytes, at most {MOST_BYTES:,} are read")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        return Document(None, {}, [Problem(content.count(b"\n", 0, error.start) + 1, "this is not UTF-8")])
    reader = _Reader()
    try:
        _refuse_growth(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        value = None if node is None else reader.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return Document(None, {}, [Problem(1 if mark is None else mark.line + 1, f"no YAML: {error.problem}")])
    except yaml.YAMLError as error:
        position = getattr(error, "position", 0)
        return Document(None, {}, [Problem(text.count("\n", 0, position) + 1, "this character is not allowed in YAML")])
    return Document(value, reader.lines, reader.problems)


def _refuse_growth(text: str) -> None:
    # a few lines of aliases can grow to gigabytes, and what is nested deep ends the interpreter's stack
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not read", problem_mark=event.start_mark)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is nested too deep", problem_mark=event.start_mark)


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[Place, int] = {}
        self.problems: list[Problem] = []
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        if node.tag not in _PLAIN:
            self.problems.append(Problem(line, f"a value with the tag {node.tag} is not read"))
            return None
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError):
            self.problems.append(Problem(line, f"{node.value[:40]!r} is no value: put it in quotation marks"))
            return None

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, item in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.problems.append(Problem(line, "a key must be a plain word"))
                continue
            if key.value in found:
                self.problems.append(Problem(line, f"{key.value!r} stands here twice"))
            self.lines[(*place, key.value)] = line
            found[key.value] = self.value(item, (*place, key.value))
        return found
