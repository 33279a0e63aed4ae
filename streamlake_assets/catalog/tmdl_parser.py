"""Reads the subset of TMDL that the model is written in, strictly: what it does not know it refuses.

Belongs here: the grammar by indentation (one tab a level), objects, properties, descriptions, expressions. Stays out:
writing it (``tmdl``), comparing it (``checks``). It follows Microsoft's page "Tabular Model Definition Language" as far
as the subset goes; Power BI's own reader is not asked.

A line is a description (``/// text``), an object (``keyword name`` or ``keyword name = expression``), a property
(``name: value``) or a flag (``name``). An expression that begins on the next line is the block of lines indented two
levels below its object, one level below a property; an empty line ends no block.
"""

import re
from dataclasses import dataclass, field
from typing import Final, NoReturn

from streamlake_assets.errors import UsageError

OBJECTS: Final = {
    "": ("database", "model", "table", "relationship", "expression", "annotation", "ref"),
    "table": ("column", "measure", "partition", "annotation"),
    "column": ("annotation",),
    "measure": ("annotation",),
    "partition": ("annotation",),
    "model": ("annotation",),
    "expression": ("annotation",),
}
"""Which objects may stand below which; below the file for the first."""
PROPERTIES: Final = {
    "database": ("compatibilityLevel",),
    "model": ("culture", "defaultPowerBIDataSourceVersion", "sourceQueryCulture"),
    "table": ("lineageTag", "dataCategory"),
    "column": ("dataType", "formatString", "lineageTag", "summarizeBy", "sourceColumn", "sortByColumn"),
    "measure": ("formatString", "lineageTag", "displayFolder"),
    "partition": ("mode",),
    "relationship": ("fromColumn", "toColumn", "crossFilteringBehavior", "isActive"),
    "expression": ("lineageTag",),
}
FLAGS: Final = {"model": ("discourageImplicitMeasures",), "column": ("isHidden", "isKey"), "measure": ("isHidden",)}
EXPRESSIONS: Final = {"partition": ("source",)}
"""Properties whose value is an expression."""
NAMELESS: Final = ("database",)
_NAME = r"(?:'(?:[^']|'')+'|[A-Za-z0-9_\-]+)"
_OBJECT: Final = re.compile(rf"(?P<keyword>[a-z]+)(?: (?P<name>{_NAME}(?: {_NAME})?))?(?: =(?: (?P<value>.*))?)?\Z")
_REFERENCE: Final = re.compile(rf"(?P<table>{_NAME})\.(?P<column>{_NAME})\Z")


@dataclass
class Node:
    """One object: its keyword and name, what stands below it, and its expression where it has one."""

    keyword: str
    name: str
    description: str = ""
    expression: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    children: list["Node"] = field(default_factory=list)

    def of(self, keyword: str) -> list["Node"]:
        """Return the objects of a kind below this one."""
        return [child for child in self.children if child.keyword == keyword]


def parse(text: str, path: str = "text") -> Node:
    """Read one file; the node that is returned stands for the file and holds its objects.

    Raises:
        UsageError: a line is not of the subset; the message names path and line.
    """
    return _Reader(text, path).read()


def split_reference(text: str) -> tuple[str, str]:
    """Return table and column of a reference such as ``'Session bars'.Close``.

    Raises:
        UsageError: it is none.
    """
    found = _REFERENCE.match(text)
    if found is None:
        raise UsageError(f"{text} is no reference to a column")
    return unquoted(found["table"]), unquoted(found["column"])


def unquoted(name: str) -> str:
    """Return a name without its quotes."""
    return name[1:-1].replace("''", "'") if name.startswith("'") else name


class _Reader:
    """Reads lines into nodes; ``_open`` holds the node of each level that a line may stand below."""

    def __init__(self, text: str, path: str) -> None:
        self._lines = text.split("\n")
        self._path = path
        self._at = 0
        self._open: list[Node] = [Node("", "")]
        self._description: list[str] = []

    def read(self) -> Node:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if line.strip():
                self._line(line)
            self._at += 1
        if self._description:
            self._refuse("a description describes nothing")
        return self._open[0]

    def _line(self, line: str) -> None:
        level = len(line) - len(line.lstrip("\t"))
        content = line[level:]
        if level >= len(self._open):
            self._refuse("it is indented too far")
        if content != content.strip():
            self._refuse("blanks stand around it")
        del self._open[level + 1 :]
        if content.startswith("///"):
            self._description.append(content[3:].strip())
        elif not self._member(self._open[level], content):
            self._object(self._open[level], level, content)

    def _member(self, owner: Node, content: str) -> bool:
        """Take a property or flag; tell whether it was one."""
        name, colon, value = content.partition(": ")
        if colon and name in PROPERTIES.get(owner.keyword, ()):
            if name in owner.properties:
                self._refuse(f"{name} stands twice")
            owner.properties[name] = value
        elif content in FLAGS.get(owner.keyword, ()):
            owner.flags.add(content)
        elif content.endswith(" =") and content[:-2] in EXPRESSIONS.get(owner.keyword, ()):
            owner.expression = self._block(len(self._open) + 1)
        else:
            return False
        if self._description:
            self._refuse("properties have no description")
        return True

    def _object(self, owner: Node, level: int, content: str) -> None:
        found = _OBJECT.match(content)
        if found is None or found["keyword"] not in OBJECTS.get(owner.keyword, ()):
            self._refuse(f"{content!r} is not known below {owner.keyword or 'the file'}")
        keyword, name = found["keyword"], found["name"] or ""
        if not name and keyword not in NAMELESS:
            self._refuse(f"a {keyword} needs a name")
        node = Node(keyword, unquoted(name), description=" ".join(self._description))
        self._description = []
        if found["value"]:
            node.expression = found["value"]
        elif content.endswith(" ="):
            node.expression = self._block(level + 2)
        if any((other.keyword, other.name) == (keyword, node.name) for other in owner.children):
            self._refuse(f"{keyword} {node.name} stands twice")
        owner.children.append(node)
        self._open.append(node)

    def _block(self, level: int) -> str:
        """Take the lines below that are indented by at least so many tabs."""
        taken = []
        while self._at + 1 < len(self._lines):
            line = self._lines[self._at + 1]
            if line.strip() and not line.startswith("\t" * level):
                break
            taken.append(line[level:])
            self._at += 1
        text = "\n".join(taken).strip("\n")
        if not text:
            self._refuse("an expression is missing")
        return text

    def _refuse(self, why: str) -> NoReturn:
        raise UsageError(f"{self._path}:{self._at + 1}: {why}")
