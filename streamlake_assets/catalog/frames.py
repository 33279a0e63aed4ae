"""The contracts of the views' rows as pandera schemas: columns, order, types, keys, bounds, members.

Belongs here: one schema for each table of the catalogue. Stays out: reading rows. pandas and pandera load when a
contract is asked for, not before.
"""

from typing import TYPE_CHECKING, Any, Final

from streamlake_assets.catalog.model import Column, Kind, Table

if TYPE_CHECKING:
    import pandera.pandas as pa

FRAME_TYPES: Final = {
    Kind.INTEGER: "Int64",
    Kind.FLAG: "Int64",
    Kind.DECIMAL: "float64",
    Kind.DOUBLE: "float64",
    Kind.TEXT: "string",
    Kind.DATE: "datetime64[ns]",
    Kind.MOMENT: "datetime64[ns]",
}
"""How pandas names each kind."""


def frame_contract(table: Table) -> "pa.DataFrameSchema":
    """Return the contract of a view's rows; validating with it also turns what the driver gave into these types.

    Decimals of prices become floats: 15 digits are kept, which is what the contract of bars allows a number to have.
    """
    import pandera.pandas as pa

    return pa.DataFrameSchema(
        {column.name: _column(column, pa) for column in table.columns},
        name=table.view,
        unique=list(table.key),
        strict=True,
        ordered=True,
        coerce=True,
    )


def _column(column: Column, pa: Any) -> Any:
    checks = []
    least, greatest = column.bounds
    if least is not None:
        checks.append(pa.Check.ge(least))
    if greatest is not None:
        checks.append(pa.Check.le(greatest))
    if column.members:
        checks.append(pa.Check.isin(column.members))
    if column.kind is Kind.FLAG:
        checks.append(pa.Check.isin((0, 1)))
    return pa.Column(FRAME_TYPES[column.kind], checks, nullable=column.nullable)
