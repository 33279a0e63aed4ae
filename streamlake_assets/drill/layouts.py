"""What a drill reads of the tables beside the facts: the form of the schema, rows by table, dead letters by reason.

Belongs here: reading. Stays out: what it must be (``bad_input``, ``contract_edges``), facts and offsets (``checker``).
"""

from typing import Any

import sqlalchemy as sa

from streamlake_assets.stores import schema

Layout = dict[str, list[tuple[Any, ...]]]

# fixed statements about the server's own tables, which have no objects in ``schema``
_FORMS = {
    "tables": "SELECT table_name, engine, table_collation, table_comment FROM information_schema.tables "
    "WHERE table_schema = DATABASE()",
    "columns": "SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, "
    "collation_name, extra, column_comment FROM information_schema.columns WHERE table_schema = DATABASE()",
    "keys": "SELECT table_name, index_name, seq_in_index, column_name, non_unique FROM information_schema.statistics "
    "WHERE table_schema = DATABASE()",
    "references": "SELECT table_name, constraint_name, referenced_table_name, delete_rule "
    "FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()",
    "checks": "SELECT constraint_name, check_clause FROM information_schema.check_constraints "
    "WHERE constraint_schema = DATABASE()",
    "triggers": "SELECT trigger_name, event_manipulation, event_object_table, action_statement "
    "FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    "views": "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = DATABASE()",
    "routines": "SELECT routine_name, routine_type FROM information_schema.routines WHERE routine_schema = DATABASE()",
    "grants": "SELECT grantee, table_name, privilege_type FROM information_schema.table_privileges "
    "WHERE table_schema = DATABASE()",
}


def layout(engine: sa.Engine) -> Layout:
    """Return all that the server says of the schema's form, and of who may do what with it."""
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(sa.text(query))), key=repr)
            for name, query in _FORMS.items()
        }


def row_counts(engine: sa.Engine) -> dict[str, int]:
    """Return the number of rows of every table."""
    with engine.connect() as connection:
        return {
            table.name: int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
            for table in schema.metadata.sorted_tables
        }


def reasons(engine: sa.Engine) -> dict[str, int]:
    """Return how many dead letters have which reason."""
    reason = schema.dead_letters.c.reason
    with engine.connect() as connection:
        found = connection.execute(sa.select(reason, sa.func.count()).group_by(reason).order_by(reason))
        return {row[0]: row[1] for row in found}


def instrument_names(engine: sa.Engine) -> dict[str, tuple[str | None, str | None]]:
    """Return name and sector of every instrument by its symbol."""
    i, s = schema.instruments, schema.sectors
    query = sa.select(i.c.symbol, i.c.name, s.c.name).outerjoin(s, s.c.id == i.c.sector_id)
    with engine.connect() as connection:
        return {row[0]: (row[1], row[2]) for row in connection.execute(query)}
