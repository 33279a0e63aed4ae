"""What a BI tool sees: the views, their columns and rows, read by the user of BI tools.

Belongs here: SELECTs of views and of what the server says about them. Stays out: what they should say (``catalog``).
"""

from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.stores.migrate import VIEW_PREFIX
from streamlake_assets.stores.mysql import outages_as_try_later


class ViewRows(NamedTuple):
    """The rows of a view, as the driver gives them, under the names of its columns."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def view_columns(engine: sa.Engine) -> dict[str, dict[str, str]]:
    """Return MySQL's type of every column in their order, by view; only views that the user may see.

    Raises:
        TryLaterError: the database is not available.
    """
    # named: MySQL 8 gives the names of these columns in capitals
    query = sa.text(
        "SELECT table_name AS view_name, column_name AS name, data_type AS type_name FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND table_name LIKE :pattern ORDER BY table_name, ordinal_position"
    )
    found: dict[str, dict[str, str]] = {}
    with outages_as_try_later("reading the views"), engine.connect() as connection:
        for row in connection.execute(query, {"pattern": VIEW_PREFIX.replace("_", r"\_") + "%"}):
            found.setdefault(row.view_name, {})[row.name] = row.type_name.lower()
    return found


def view_rows(engine: sa.Engine, view: str) -> ViewRows:
    """Return all rows of a view.

    Raises:
        TryLaterError: the database is not available.
    """
    with outages_as_try_later(f"reading {view}"), engine.connect() as connection:
        found = connection.execute(sa.select(sa.text("*")).select_from(sa.table(view)))
        return ViewRows(tuple(found.keys()), [tuple(row) for row in found])
