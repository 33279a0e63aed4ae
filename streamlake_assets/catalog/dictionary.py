"""The data dictionary as Markdown: what every view, column and measure means.

Belongs here: words and tables for readers, and reading the tables back. Stays out: what is meant (``dimensions``,
``facts``, ``ingest``, ``measures``).
"""

from collections.abc import Iterator
from typing import Final

from streamlake_assets.catalog.model import Catalog, Column, Role, Table

_HEAD: Final = """# Data dictionary

Written by `streamlake bi generate` from `streamlake_assets/catalog`; edit that, not this page. These are the views that
BI tools read, the only thing the database user of BI tools sees, and the measures of the Power BI model. How to open
the model: [power_bi.md](power_bi.md).

An integer or flag (0 or 1) is one of MySQL's integer types, a decimal is exact, a double is a floating number, a moment
is a time in UTC. *Unknown* marks columns that may be empty. Prices are raw, as traded; only returns are adjusted for
splits and dividends.
"""
_COLUMNS: Final = ("column", "type", "unit", "empty", "in the model", "meaning")
_MEASURES: Final = ("measure", "format", "unit", "meaning")


def dictionary(catalog: Catalog) -> str:
    """Return the page."""
    parts = [_HEAD]
    for role, title in ((Role.FACT, "Facts"), (Role.DIMENSION, "Dimensions")):
        parts.append(f"## {title}\n")
        parts += [_table(catalog, table) for table in catalog.tables if table.role is role]
    parts.append("## Measures\n\nEach is defined once more in Python where pages need it, under the name given.\n")
    parts += [_measures(table) for table in catalog.tables if table.measures]
    return "\n".join(parts)


def described_columns(page: str) -> dict[str, dict[str, tuple[str, bool]]]:
    """Return what a page says of each view: type of every column and whether it may be empty.

    The other way round than ``dictionary``, so that a test can hold the page against the views.
    """
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    view = ""
    for line in page.splitlines():
        if line.startswith("### `"):
            view = line.split("`")[1]
            found[view] = {}
        elif view and line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == len(_COLUMNS):
                found[view][cells[0].strip("`")] = (cells[1], cells[3] == "unknown")
    return found


def _table(catalog: Catalog, table: Table) -> str:
    key = ", ".join(f"`{name}`" for name in table.key)
    lines = [
        f"### `{table.view}`",
        "",
        f"{table.meaning} One row is {table.grain}; key: {key}. In the model: {table.label}.",
        "",
        *_grid(_COLUMNS, (_column(column) for column in table.columns)),
    ]
    belongs = [f"`{one.column}` is one of `{one.to_table}`" for one in catalog.relationships if one.table == table.view]
    if belongs:
        lines += ["", f"{'; '.join(belongs)}."]
    return "\n".join(lines) + "\n"


def _column(column: Column) -> tuple[str, ...]:
    meaning = column.meaning
    if column.members:
        meaning = f"{meaning} One of {', '.join(column.members)}."
    return (
        f"`{column.name}`",
        column.kind.value,
        column.unit,
        "unknown" if column.nullable else "",
        f"{column.label}{' (hidden)' if column.hidden else ''}",
        meaning,
    )


def _measures(table: Table) -> str:
    rows = (
        (
            measure.name,
            f"`{measure.format}`" if measure.format else "text",
            measure.unit,
            f"{measure.meaning} In Python: `{measure.twin}`." if measure.twin else measure.meaning,
        )
        for measure in table.measures
    )
    return "\n".join([f"### {table.label}", "", *_grid(_MEASURES, rows)]) + "\n"


def _grid(heads: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |"
