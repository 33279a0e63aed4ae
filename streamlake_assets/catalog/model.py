"""What a catalogue is made of: tables of a star schema with their columns, measures and relationships.

Belongs here: the types, and the rules that hold of every catalogue. Stays out: what ours says (``star``), and what is
made of it (``views``, ``tmdl``, ``dictionary``, ``frames``, ``report``).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from streamlake_assets.errors import UsageError


class Kind(StrEnum):
    """What a column's values are; each room has its own word for it.

    ``flag`` is 0 or 1. ``decimal`` is exact in SQL and a double in Power BI, whose own decimal has four places only.
    """

    INTEGER = "integer"
    FLAG = "flag"
    DECIMAL = "decimal"
    DOUBLE = "double"
    TEXT = "text"
    DATE = "date"
    MOMENT = "moment"


class Role(StrEnum):
    """What a table of a star is."""

    FACT = "fact"
    DIMENSION = "dimension"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column: ``name`` in the view, ``label`` in the model, ``sql`` the expression that gives it.

    ``unit`` is empty where there is none. ``sort_by`` names the column whose order it takes. ``bounds`` are the least
    and greatest value, None where there is none; ``members`` are all values there can be, where they are few.
    """

    name: str
    kind: Kind
    sql: str
    meaning: str
    unit: str = ""
    label: str = ""
    nullable: bool = False
    hidden: bool = False
    sort_by: str = ""
    format: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    members: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name.replace("_", " ").capitalize())


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A value of a selection, in DAX; ``twin`` names what means the same in ``market.measures``."""

    name: str
    dax: str
    format: str
    meaning: str
    unit: str = ""
    twin: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One view and the table made of it.

    ``source`` is what follows the column list of its SELECT, ``common`` the common table expressions before it;
    ``grain`` says what one row is, ``key`` which columns tell rows apart.
    """

    view: str
    label: str
    role: Role
    meaning: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    source: str
    common: str = ""
    measures: tuple[Measure, ...] = ()

    def column(self, name: str) -> Column:
        """Return a column by its name in the view.

        Raises:
            UsageError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise UsageError(f"{self.view} has no column {name}")


@dataclass(frozen=True)
class Relationship:
    """Many rows of ``table`` by ``column`` to one of ``to_table`` by ``to_column``; views and columns by name.

    Selections flow from the one to the many.
    """

    table: str
    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True)
class Catalog:
    """A star schema: tables in the order in which views can be made.

    Raises:
        UsageError: a name is taken twice, or a key, order or relationship names what is not there.
    """

    tables: tuple[Table, ...]
    relationships: tuple[Relationship, ...] = field(default=())

    def __post_init__(self) -> None:
        _unique("view", [table.view for table in self.tables])
        _unique("label", [table.label for table in self.tables])
        _unique("measure", [measure.name for _, measure in self.measures])
        for table in self.tables:
            _unique(f"column of {table.view}", [column.name for column in table.columns])
            # a model keeps columns and measures of a table in one space of names
            _unique(f"field of {table.label}", [one.label for one in table.columns] + [m.name for m in table.measures])
            for name in (*table.key, *(column.sort_by for column in table.columns if column.sort_by)):
                table.column(name)
        for one in self.relationships:
            self.table(one.table).column(one.column)
            target = self.table(one.to_table)
            target.column(one.to_column)
            if target.key != (one.to_column,):
                raise UsageError(f"{one.to_table}.{one.to_column} is not its key: many rows could answer")

    @cached_property
    def by_view(self) -> dict[str, Table]:
        """Tables by the name of their view."""
        return {table.view: table for table in self.tables}

    def table(self, view: str) -> Table:
        """Return a table by the name of its view.

        Raises:
            UsageError: there is none.
        """
        if view not in self.by_view:
            raise UsageError(f"the catalogue has no view {view}")
        return self.by_view[view]

    @property
    def measures(self) -> Iterator[tuple[Table, Measure]]:
        """Every measure with the table it belongs to."""
        return ((table, measure) for table in self.tables for measure in table.measures)


def _unique(what: str, names: list[str]) -> None:
    folded = [name.casefold() for name in names]
    twice = sorted({name for name in names if folded.count(name.casefold()) > 1})
    if twice:
        raise UsageError(f"{what} twice: {', '.join(twice)}")
