"""The semantic model as TMDL, Power BI's text format: one file a table, relationships, parameters, the model.

Belongs here: writing the subset that is used. Stays out: reading it back (``tmdl_parser``), the report (``report``).

Everything is imported from the ``bi_*`` views of the server and database that two parameters name; no credentials are
in the files, Power BI asks for them. Names of views and columns stay in ``sourceColumn`` and in the query; readers see
the labels. Identifiers that Power BI wants unique and stable are made of the names, so that the same catalogue gives
the same bytes.
"""

from collections.abc import Iterator
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from streamlake_assets.catalog.model import Catalog, Column, Kind, Measure, Relationship, Table
from streamlake_assets.settings import DATABASE, LOOPBACK, Settings

COMPATIBILITY: Final = 1600
DATA_TYPES: Final = {
    Kind.INTEGER: "int64",
    Kind.FLAG: "int64",
    Kind.DECIMAL: "double",
    Kind.DOUBLE: "double",
    Kind.TEXT: "string",
    Kind.DATE: "dateTime",
    Kind.MOMENT: "dateTime",
}
"""How TMDL names each kind."""
_QUERY_TYPES: Final = {
    Kind.INTEGER: "Int64.Type",
    Kind.FLAG: "Int64.Type",
    Kind.DECIMAL: "type number",
    Kind.DOUBLE: "type number",
    Kind.TEXT: "type text",
    Kind.DATE: "type date",
    Kind.MOMENT: "type datetime",
}
_NAMESPACE: Final = uuid5(NAMESPACE_URL, "streamlake/bi")


def identifier(*parts: str) -> UUID:
    """Return the identifier of a thing by its names: always the same for the same names."""
    return uuid5(_NAMESPACE, "/".join(parts))


def model_files(catalog: Catalog) -> dict[str, str]:
    """Return the files of the model's definition by their path in its folder."""
    files = {
        "database.tmdl": f"database\n\tcompatibilityLevel: {COMPATIBILITY}\n",
        "model.tmdl": _model(catalog),
        "expressions.tmdl": _parameters(),
        "relationships.tmdl": "\n".join(_relationship(catalog, one) for one in catalog.relationships),
    }
    files |= {f"tables/{table.label}.tmdl": _table(table) for table in catalog.tables}
    return files


def quoted(name: str) -> str:
    """Return a name as TMDL and DAX write it: in single quotes unless it is one plain word."""
    plain = name.isascii() and name.replace("_", "").isalnum() and not name[0].isdigit()
    return name if plain else "'" + name.replace("'", "''") + "'"


def _model(catalog: Catalog) -> str:
    lines = [
        "model Model",
        "\tculture: en-US",
        "\tdefaultPowerBIDataSourceVersion: powerBI_V3",
        "\tdiscourageImplicitMeasures",
        "\tsourceQueryCulture: en-US",
        "",
        # hidden date tables for every date column would be made otherwise; the catalogue has its own
        "annotation __PBI_TimeIntelligenceEnabled = 0",
        "",
        *(f"ref table {quoted(table.label)}" for table in catalog.tables),
    ]
    return "\n".join(lines) + "\n"


def _parameters() -> str:
    port = Settings.model_fields["mysql_port"].default
    parameters = (
        ("Server", f"{LOOPBACK}:{port}", "Host of the MySQL server, with its port."),
        ("Database", DATABASE, "Schema that holds the bi_ views."),
    )
    return "\n".join(
        f'/// {meaning}\nexpression {name} = "{value}" meta '
        f'[IsParameterQuery=true, Type="Text", IsParameterQueryRequired=true]\n'
        f"\tlineageTag: {identifier('parameter', name)}\n"
        for name, value, meaning in parameters
    )


def _relationship(catalog: Catalog, one: Relationship) -> str:
    many, to = catalog.table(one.table), catalog.table(one.to_table)
    ends = [
        f"{quoted(table.label)}.{quoted(table.column(column).label)}"
        for table, column in ((many, one.column), (to, one.to_column))
    ]
    name = identifier("relationship", one.table, one.column, one.to_table)
    return f"relationship {name}\n\tfromColumn: {ends[0]}\n\ttoColumn: {ends[1]}\n"


def _table(table: Table) -> str:
    lines = [f"/// {table.meaning} One row is {table.grain}.", f"table {quoted(table.label)}"]
    lines.append(f"\tlineageTag: {identifier('table', table.view)}")
    if any(column.kind is Kind.DATE and table.key == (column.name,) for column in table.columns):
        lines.append("\tdataCategory: Time")
    for measure in table.measures:
        lines += ["", *_measure(table, measure)]
    for column in table.columns:
        lines += ["", *_column(table, column)]
    lines += ["", *_partition(table)]
    return "\n".join(lines) + "\n"


def _measure(table: Table, measure: Measure) -> Iterator[str]:
    yield f"\t/// {_described(measure.meaning, measure.unit)}"
    expression = measure.dax.splitlines()
    if len(expression) == 1:
        yield f"\tmeasure {quoted(measure.name)} = {measure.dax}"
    else:
        yield f"\tmeasure {quoted(measure.name)} ="
        yield from (f"\t\t\t{line}" for line in expression)
    if measure.format:
        yield f"\t\tformatString: {measure.format}"
    yield f"\t\tlineageTag: {identifier('measure', table.view, measure.name)}"


def _column(table: Table, column: Column) -> Iterator[str]:
    yield f"\t/// {_described(column.meaning, column.unit)}"
    yield f"\tcolumn {quoted(column.label)}"
    yield f"\t\tdataType: {DATA_TYPES[column.kind]}"
    if column.hidden:
        yield "\t\tisHidden"
    if table.key == (column.name,):
        yield "\t\tisKey"
    if column.format:
        yield f"\t\tformatString: {column.format}"
    yield f"\t\tlineageTag: {identifier('column', table.view, column.name)}"
    yield "\t\tsummarizeBy: none"
    yield f"\t\tsourceColumn: {column.name}"
    if column.sort_by:
        yield f"\t\tsortByColumn: {quoted(table.column(column.sort_by).label)}"


def _partition(table: Table) -> Iterator[str]:
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    yield f"\tpartition {quoted(table.label)} = m"
    yield "\t\tmode: import"
    yield "\t\tsource ="
    query = [
        "let",
        "\tSource = MySQL.Database(Server, Database, [ReturnSingleDatabase = true]),",
        f'\tView = Source{{[Schema = Database, Item = "{table.view}"]}}[Data],',
        f"\tColumns = Table.SelectColumns(View, {{{names}}}),",
        "\tTyped = Table.TransformColumnTypes(Columns, {",
        *(
            f'\t\t{{"{column.name}", {_QUERY_TYPES[column.kind]}}}' + ("," if column is not table.columns[-1] else "")
            for column in table.columns
        ),
        "\t})",
        "in",
        "\tTyped",
    ]
    yield from (f"\t\t\t\t{line}" for line in query)


def _described(meaning: str, unit: str) -> str:
    return f"{meaning} Unit: {unit}." if unit else meaning
