"""How rows go into a table: as typed literals in multi-row statements, or by LOAD DATA through a staging table.

Belongs here: the two ways, with one meaning: a row that exists is an error, unless it is to be replaced. Stays out:
which rows (``bar_store``, ``versions_merge``) and their text (``literals``). A block is ids and the tails that follow
them, as ``fact_tables`` orders the columns.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import sqlalchemy as sa

from streamlake_assets.errors import IntegrityError
from streamlake_assets.stores import literals

ROWS_PER_STATEMENT: Final = 2_000
"""About half a megabyte of text: beyond a few thousand rows a statement gains nothing, and packets are limited."""

ROWS_PER_LOAD: Final = 20_000
"""About 5 MB in the server's memory, which gives a table of this kind 16 MB by default."""

_STAGING: Final = "staging_"

Block = tuple[tuple[int, ...], Sequence[str]]


class RowWriter(Protocol):
    """A way to put rows into a table, within the caller's transaction."""

    def insert(
        self,
        connection: sa.Connection,
        table: str,
        columns: Sequence[str],
        blocks: Sequence[Block],
        parents_held: bool = False,
    ) -> None:
        """Insert rows; ``parents_held`` as in ``literals.insert``.

        Raises:
            sqlalchemy.exc.IntegrityError: a row with the same key is there.
        """

    def replace(
        self, connection: sa.Connection, table: str, columns: Sequence[str], key: Sequence[str], blocks: Sequence[Block]
    ) -> None:
        """Put rows in the place of those with the same key."""


class StatementWriter:
    """``RowWriter`` by typed literals."""

    def insert(
        self,
        connection: sa.Connection,
        table: str,
        columns: Sequence[str],
        blocks: Sequence[Block],
        parents_held: bool = False,
    ) -> None:
        """Insert rows by as few statements as their size allows."""
        for text in _texts(blocks):
            connection.exec_driver_sql(literals.insert(table, columns, text, parents_held))

    def replace(
        self, connection: sa.Connection, table: str, columns: Sequence[str], key: Sequence[str], blocks: Sequence[Block]
    ) -> None:
        """Replace rows by as few statements as their size allows."""
        for text in _texts(blocks):
            connection.exec_driver_sql(literals.replace_by_key(table, columns, key, text))


class LoadWriter:
    """``RowWriter`` by LOAD DATA LOCAL into a staging table, then INSERT … SELECT.

    The engine must allow LOCAL INFILE (``make_engine(local_infile=True)``), and so must the server. The rows are never
    on a disk: the file is one of this process's memory.
    """

    def insert(
        self,
        connection: sa.Connection,
        table: str,
        columns: Sequence[str],
        blocks: Sequence[Block],
        parents_held: bool = False,
    ) -> None:
        """Insert rows through the staging table."""
        move = literals.from_staging(_STAGING + table, table, columns, (), parents_held)
        self._load(connection, table, columns, blocks, move)

    def replace(
        self, connection: sa.Connection, table: str, columns: Sequence[str], key: Sequence[str], blocks: Sequence[Block]
    ) -> None:
        """Replace rows through the staging table."""
        self._load(connection, table, columns, blocks, literals.from_staging(_STAGING + table, table, columns, key))

    def _load(
        self, connection: sa.Connection, table: str, columns: Sequence[str], blocks: Sequence[Block], move: str
    ) -> None:
        for some in _chunks(blocks, ROWS_PER_LOAD):
            self._load_some(connection, table, columns, some)
            connection.exec_driver_sql(move)

    def _load_some(
        self, connection: sa.Connection, table: str, columns: Sequence[str], blocks: Sequence[Block]
    ) -> None:
        rows = sum(len(tails) for _, tails in blocks)
        staging = _STAGING + table
        with os.fdopen(os.memfd_create("streamlake-rows"), "wb") as file:
            for ids, tails in blocks:
                file.write(literals.lines(ids, tails).encode())
            file.flush()
            for statement in literals.staging(table, staging):
                connection.exec_driver_sql(statement)
            loaded = connection.exec_driver_sql(literals.load(staging, columns, file.fileno())).rowcount
        # under LOCAL the server skips what it cannot take with a warning, and says so only in this number
        if loaded != rows:
            raise IntegrityError(f"of {rows} rows for {table} only {loaded} were loaded")


def _texts(blocks: Sequence[Block]) -> Iterator[str]:
    for some in _chunks(blocks, ROWS_PER_STATEMENT):
        yield ",".join(literals.prefixed(ids, tails) for ids, tails in some)


def _chunks(blocks: Sequence[Block], most: int) -> Iterator[list[Block]]:
    """Cut blocks into lists of at most so many rows."""
    chunk: list[Block] = []
    size = 0
    for ids, tails in blocks:
        for start in range(0, len(tails), most):
            some = tails[start : start + most]
            if chunk and size + len(some) > most:
                yield chunk
                chunk, size = [], 0
            chunk.append((ids, some))
            size += len(some)
    if chunk:
        yield chunk
