"""Where each column of each view comes from, read out of the views' own SQL: nobody writes it down a second time.

Belongs here: reading the SQL of the catalogue, which is the small part of the language its files use: common table
expressions, joins, unions, subqueries, windows. Stays out: the SQL itself (``facts``, ``dimensions``, ``ingest``) and
what the tables are to anybody. A column's origins are those of its value: what only chooses, orders or joins rows is
none of them, and a count of rows has none.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from streamlake_assets.catalog.model import Catalog
from streamlake_assets.catalog.views import selects
from streamlake_assets.errors import UsageError


class Origin(NamedTuple):
    """A column of a table."""

    table: str
    column: str


Origins: TypeAlias = frozenset[Origin]
Relation: TypeAlias = dict[str, Origins]
"""What a query gives: its columns in order, each with its origins."""
Piece: TypeAlias = "str | list[Piece]"
"""A word, or what stands between two parentheses."""
Scope: TypeAlias = Mapping[str, "Relation | str"]
"""By alias: a relation, or the name of a table, of which any column may be asked."""

_PIECES: Final = re.compile(r"'(?:[^']|'')*'|`[^`]+`|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:e\d+)?|\S")
_NAME: Final = re.compile(r"[A-Za-z_]\w*\Z")
_JOINS: Final = frozenset({"FROM", "JOIN", "LEFT", "RIGHT", "INNER", "OUTER", "CROSS", ","})
_AFTER_FROM: Final = frozenset({"WHERE", "GROUP", "HAVING", "ORDER", "LIMIT"})
_WORDS: Final = frozenset(
    {"CASE", "WHEN", "THEN", "ELSE", "END", "AND", "OR", "NOT", "NULL", "IS", "IN", "BETWEEN", "LIKE", "DIV"}
    | {"DISTINCT", "INTERVAL", "DAY", "TRUE", "FALSE"}
)


def view_lineage(catalog: Catalog) -> dict[str, Relation]:
    """Return the origins of each column of each view, in tables that are no views themselves.

    Raises:
        UsageError: the SQL of a view names what this reader cannot find.
    """
    known: dict[str, Relation] = {}
    for view, text in selects(catalog).items():
        known[view] = _query(_tree(iter(_PIECES.findall(text))), known, ())
    return known


def _tree(pieces: Iterator[str]) -> list[Piece]:
    found: list[Piece] = []
    for piece in pieces:
        if piece == "(":
            found.append(_tree(pieces))
        elif piece == ")":
            return found
        else:
            found.append(piece.strip("`"))
    return found


def _word(piece: Piece) -> str:
    return piece.upper() if isinstance(piece, str) else ""


def _query(pieces: Sequence[Piece], known: Mapping[str, Relation], outer: tuple[Scope, ...]) -> Relation:
    named = dict(known)
    start = 0
    if _word(pieces[0]) == "WITH":
        # WITH name AS (query), name AS (query)
        while start == 0 or _word(pieces[start]) == ",":
            name, body = pieces[start + 1], pieces[start + 3]
            named[str(name)] = _query(list(body), named, outer)
            start += 4
    first, *others = (_select(part, named, outer) for part in _parts(pieces[start:], "UNION"))
    for other in others:
        for name, origins in zip(first, other.values(), strict=True):
            first[name] |= origins
    return first


def _select(pieces: Sequence[Piece], known: Mapping[str, Relation], outer: tuple[Scope, ...]) -> Relation:
    words = [_word(piece) for piece in pieces]
    begin = words.index("SELECT") + 1
    middle = words.index("FROM") if "FROM" in words else len(words)
    end = next((place for place in range(middle, len(words)) if words[place] in _AFTER_FROM), len(words))
    scopes = (_scope(pieces[middle:end], known, outer), *outer)
    found: Relation = {}
    for number, item in enumerate(_parts(pieces[begin:middle], ",")):
        if item[-1] == "*":
            found |= _all(scopes[0], item)
            continue
        named = len(item) > 1 and _word(item[-2]) == "AS"
        name = str(item[-1]) if named or _NAME.match(str(item[-1])) else f"column {number}"
        found[name] = _origins(item[:-2] if named else item, known, scopes)
    return found


def _all(scope: Scope, item: Sequence[Piece]) -> Relation:
    relation = scope[str(item[0])]
    if isinstance(relation, str):
        raise UsageError(f"all columns of the table {relation} are asked for: name them")
    return relation


def _scope(pieces: Sequence[Piece], known: Mapping[str, Relation], outer: tuple[Scope, ...]) -> Scope:
    scope: dict[str, Relation | str] = {}
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        place += 1
        if _word(piece) in _JOINS:
            continue
        if _word(piece) == "ON":
            while place < len(pieces) and _word(pieces[place]) not in _JOINS:
                place += 1
            continue
        relation = _query(piece, known, outer) if isinstance(piece, list) else known.get(piece, piece)
        alias = piece
        if place < len(pieces) and _word(pieces[place]) == "AS":
            alias = pieces[place + 1]
            place += 2
        scope[str(alias)] = relation
    return scope


def _origins(pieces: Sequence[Piece], known: Mapping[str, Relation], scopes: tuple[Scope, ...]) -> Origins:
    found: set[Origin] = set()
    place = 0
    while place < len(pieces):
        piece = pieces[place]
        after = pieces[place + 1] if place + 1 < len(pieces) else ""
        step = 1
        if isinstance(piece, list):
            if piece and _word(piece[0]) in ("SELECT", "WITH"):
                found.update(*_query(piece, known, scopes).values())
            else:
                found |= _origins(piece, known, scopes)
        elif piece.upper() in ("OVER", "AS"):
            step = 2  # a window chooses and orders rows; what follows AS here is a type
        elif after == ".":
            found |= _column(scopes, piece, str(pieces[place + 2]))
            step = 3
        elif _NAME.match(piece) and piece.upper() not in _WORDS and not isinstance(after, list):
            found |= _bare(scopes, piece)
        place += step
    return frozenset(found)


def _column(scopes: tuple[Scope, ...], alias: str, name: str) -> Origins:
    for scope in scopes:
        if alias in scope:
            return _of(scope[alias], name)
    raise UsageError(f"the SQL of the views names {alias}.{name}, and nothing there is called {alias}")


def _bare(scopes: tuple[Scope, ...], name: str) -> Origins:
    for scope in scopes:
        holding = [relation for relation in scope.values() if isinstance(relation, str) or name in relation]
        if len(holding) == 1:
            return _of(holding[0], name)
    raise UsageError(f"the SQL of the views names {name} without saying of what")


def _of(relation: Relation | str, name: str) -> Origins:
    if isinstance(relation, str):
        return frozenset({Origin(relation, name)})
    if name not in relation:
        raise UsageError(f"the SQL of the views asks for {name}, which is not among {', '.join(relation)}")
    return relation[name]


def _parts(pieces: Sequence[Piece], separator: str) -> list[Sequence[Piece]]:
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if _word(piece) == separator:
            parts.append([])
        else:
            parts[-1].append(piece)
    return list(parts)
