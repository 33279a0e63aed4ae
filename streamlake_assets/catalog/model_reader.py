"""The semantic model read back from its TMDL files, and what is wrong with it.

Belongs here: tables, columns, measures and relationships as the files have them; whether they agree with the views and
with each other. Stays out: the grammar (``tmdl_parser``), the report (``report_rules``), asking a server for its views.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from streamlake_assets.catalog.model import Kind
from streamlake_assets.catalog.tmdl import DATA_TYPES
from streamlake_assets.catalog.tmdl_parser import Node, parse, split_reference, unquoted
from streamlake_assets.errors import UsageError

SQL_TYPES: Final = {
    Kind.INTEGER: ("tinyint", "smallint", "mediumint", "int", "bigint"),
    Kind.FLAG: ("tinyint", "smallint", "mediumint", "int", "bigint"),
    Kind.DECIMAL: ("decimal",),
    Kind.DOUBLE: ("double",),
    Kind.TEXT: ("varchar", "char", "enum"),
    Kind.DATE: ("date",),
    Kind.MOMENT: ("datetime",),
}
"""MySQL's names for each kind, as the information schema gives them."""
_MODEL_TYPES: Final = {
    model: {sql for kind, other in DATA_TYPES.items() if other == model for sql in SQL_TYPES[kind]}
    for model in DATA_TYPES.values()
}
_ITEM: Final = re.compile(r'Item = "(\w+)"')
_STRING: Final = re.compile(r'"[^"]*"')
_FIELD: Final = re.compile(r"(?:'(?P<quoted>[^']+)'|(?P<plain>\b[A-Za-z_]\w*))?\[(?P<field>[^\]]+)\]")
_TABLE: Final = re.compile(r"'([^']+)'")


class ModelColumn(NamedTuple):
    """A column of the model: the view's column it comes from, and its type."""

    source: str
    data_type: str


@dataclass(frozen=True)
class ModelTable:
    """A table of the model: the view it is imported from, its columns and measures by label, the query's text."""

    view: str
    columns: dict[str, ModelColumn]
    measures: dict[str, str]
    query: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """A semantic model: tables by label, relationships as (table, column, to table, to column), parameters."""

    tables: dict[str, ModelTable]
    relationships: tuple[tuple[str, str, str, str], ...]
    parameters: tuple[str, ...]
    listed: tuple[str, ...]
    """Tables that the model's own file refers to."""

    def has(self, table: str, field: str, is_measure: bool) -> bool:
        """Tell whether a table has a field of that kind."""
        found = self.tables.get(table)
        return found is not None and field in (found.measures if is_measure else found.columns)


def read_model(files: Mapping[str, str]) -> Model:
    """Read a model from the TMDL files of its folder, by path.

    Raises:
        UsageError: a file is not of the subset, or a part that every model has is missing.
    """
    nodes = [parse(text, path) for path, text in sorted(files.items()) if path.endswith(".tmdl")]
    every = [child for node in nodes for child in node.children]
    tables: dict[str, ModelTable] = {}
    for node in every:
        if node.keyword == "table":
            if node.name in tables:
                raise UsageError(f"table {node.name} stands in two files")
            tables[node.name] = _table(node)
    return Model(
        tables=tables,
        relationships=tuple(
            split_reference(_property(one, "fromColumn")) + split_reference(_property(one, "toColumn"))
            for one in every
            if one.keyword == "relationship"
        ),
        parameters=tuple(one.name for one in every if one.keyword == "expression"),
        listed=tuple(unquoted(one.name.removeprefix("table ")) for one in every if one.keyword == "ref"),
    )


def model_problems(model: Model) -> Iterator[str]:
    """Yield what a model says wrongly of itself: names in DAX, relationships, the list of tables."""
    if sorted(model.listed) != sorted(model.tables):
        yield f"model.tmdl refers to {sorted(model.listed)}, there are {sorted(model.tables)}"
    if set(model.parameters) != {"Server", "Database"}:
        yield f"the parameters are {sorted(model.parameters)}, not Server and Database"
    for table, column, to_table, to_column in model.relationships:
        for name, of in ((table, column), (to_table, to_column)):
            if not model.has(name, of, is_measure=False):
                yield f"a relationship names {name}[{of}], which is not there"
                break
        else:
            types = [model.tables[name].columns[of].data_type for name, of in ((table, column), (to_table, to_column))]
            if types[0] != types[1]:
                yield f"{table}[{column}] is {types[0]}, {to_table}[{to_column}] is {types[1]}"
            if model.tables[to_table].keys != (to_column,):
                yield f"{to_table}[{to_column}] is not marked as its key"
    for label, found in model.tables.items():
        for name, dax in found.measures.items():
            yield from (f"{label}, measure {name}: {what}" for what in _dax_problems(model, dax))


def view_problems(model: Model, views: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield where a model and the views differ.

    Args:
        model: as read from its files.
        views: MySQL's type of every column, by view.
    """
    for view in sorted(set(views) - {table.view for table in model.tables.values()}):
        yield f"{view} is not in the model"
    for label, table in model.tables.items():
        if table.view not in views:
            yield f"{label} comes from {table.view}, which is not there"
            continue
        there = views[table.view]
        sources = [column.source for column in table.columns.values()]
        for name in sorted(set(there) - set(sources)):
            yield f"{table.view}.{name} is not in the model"
        for name, column in table.columns.items():
            if column.source not in there:
                yield f"{label}[{name}] comes from {table.view}.{column.source}, which is not there"
            elif there[column.source] not in _MODEL_TYPES.get(column.data_type, ()):
                yield f"{label}[{name}] is {column.data_type}, {table.view}.{column.source} is {there[column.source]}"
            if f'"{column.source}"' not in table.query:
                yield f"the query of {label} does not read {column.source}"


def _table(node: Node) -> ModelTable:
    partitions = node.of("partition")
    if len(partitions) != 1 or partitions[0].properties.get("mode") != "import":
        raise UsageError(f"table {node.name} needs one partition in import mode")
    query = partitions[0].expression
    item = _ITEM.search(query)
    if item is None or "MySQL.Database(Server, Database" not in query:
        raise UsageError(f"table {node.name} is not read from a view of the server and database of the parameters")
    return ModelTable(
        view=item[1],
        columns={
            column.name: ModelColumn(_property(column, "sourceColumn"), _property(column, "dataType"))
            for column in node.of("column")
        },
        measures={measure.name: measure.expression for measure in node.of("measure")},
        query=query,
        keys=tuple(column.name for column in node.of("column") if "isKey" in column.flags),
    )


def _property(node: Node, name: str) -> str:
    if name not in node.properties:
        raise UsageError(f"{node.keyword} {node.name} has no {name}")
    return node.properties[name]


def _dax_problems(model: Model, dax: str) -> Iterator[str]:
    """Yield names that an expression uses and the model does not have; columns made within it begin with @."""
    if not dax.strip():
        yield "there is no expression"
    if any(dax.count(left) != dax.count(right) for left, right in ("()", "[]")):
        yield "brackets are not in pairs"
    bare = _STRING.sub('""', dax)
    every = {name for table in model.tables.values() for name in table.measures}
    for found in _FIELD.finditer(bare):
        table, name = found["quoted"] or found["plain"], found["field"]
        if table is None:
            if not name.startswith("@") and name not in every:
                yield f"[{name}] is no measure"
        elif not model.has(table, name, is_measure=False):
            yield f"{table}[{name}] is not there"
    for table in _TABLE.findall(_FIELD.sub("", bare)):
        if table not in model.tables:
            yield f"'{table}' is no table"
