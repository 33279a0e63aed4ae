"""The tables of a test: emptied, and read back in a form that does not depend on ids, offsets or times of arrival."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import migrate, schema
from streamlake_assets.stores.mysql import make_engine

KEPT = {"bar_intervals", "data_sources"}
"""Seeded by the migration."""
VOLATILE = {"known_from", "batch_id", "kafka_offset", "event_time"}
"""What depends on when and where a message arrived."""

Content = dict[str, list[tuple[Any, ...]]]


class Database:
    """One migrated schema, as the migration user and as the writer."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.admin = make_engine(settings, DatabaseRole.MIGRATE)
        migrate.upgrade(self.admin)
        migrate.grant_rights(self.admin)
        self.writer = make_engine(settings, DatabaseRole.WRITER, pool_size=6)

    def close(self) -> None:
        """Close all connections."""
        self.admin.dispose()
        self.writer.dispose()

    def empty(self) -> None:
        """Remove all rows but the seeds; the append-only triggers do not see a TRUNCATE."""
        with self.admin.begin() as connection:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=0")
            for table in schema.metadata.sorted_tables:
                if table.name not in KEPT and connection.execute(sa.select(sa.literal(1)).select_from(table)).first():
                    connection.exec_driver_sql(f"TRUNCATE TABLE `{table.name}`")
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=1")

    def rows(self, table: sa.Table) -> list[sa.Row[Any]]:
        """All rows of a table in key order."""
        with self.admin.connect() as connection:
            return list(connection.execute(sa.select(table).order_by(*table.primary_key.columns)))

    def count(self, table: sa.Table) -> int:
        """Number of rows of a table."""
        with self.admin.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    def everything(self) -> Content:
        """Every row of every table, as stored."""
        return {table.name: [tuple(row) for row in self.rows(table)] for table in schema.metadata.sorted_tables}

    def meaning(self) -> Content:
        """Instruments, facts and revisions by names instead of ids, without what depends on arrival."""
        i, e, s = schema.instruments, schema.exchanges, schema.sectors
        instruments = (
            sa.select(i.c.symbol, e.c.mic, i.c.asset_class, i.c.name, s.c.name, i.c.currency, i.c.described_as_of)
            .join(e, e.c.id == i.c.exchange_id)
            .outerjoin(s, s.c.id == i.c.sector_id)
        )
        facts = (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions)
        queries = {"instruments": instruments, **{table.name: _named(table) for table in facts}}
        with self.admin.connect() as connection:
            return {
                name: sorted((tuple(row) for row in connection.execute(query)), key=repr)
                for name, query in queries.items()
            }


def _named(table: sa.Table) -> sa.Select[Any]:
    i, e, d = schema.instruments, schema.exchanges, schema.data_sources
    columns = [column for column in table.columns if column.name not in VOLATILE | {"instrument_id", "source_id"}]
    return (
        sa.select(i.c.symbol, e.c.mic, d.c.name, *columns)
        .select_from(table)
        .join(i, i.c.id == table.c.instrument_id)
        .join(e, e.c.id == i.c.exchange_id)
        .join(d, d.c.id == table.c.source_id)
    )


@contextmanager
def statements(engine: sa.Engine) -> Iterator[list[str]]:
    """Collect the statements that really go to the server: one entry for each execute of the driver's cursor."""
    seen: list[str] = []

    def note(_connection: Any, cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        # the driver rewrites executemany to multi-row statements; how many, its own cursor tells
        execute = cursor.execute

        def counted(query: Any, args: Any = None) -> Any:
            seen.append(statement)
            return execute(query, args)

        cursor.execute = counted

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
