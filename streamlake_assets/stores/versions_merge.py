"""Facts that may be known already, merged with what is stored: the way of every message that is not certainly new.

Belongs here: looking stored versions up, and writing what the order of versions says. Stays out: the order itself
(``market.versions``), offsets and batch records (``bar_store``). Of a stored version only its place in the order is
read; a row that is replaced goes to the revisions inside the server.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import sqlalchemy as sa

from streamlake_assets.market.messages import Counts
from streamlake_assets.market.versions import Version, merge
from streamlake_assets.stores import literals
from streamlake_assets.stores.dimensions import Dimensions
from streamlake_assets.stores.fact_tables import FactTable, Key
from streamlake_assets.stores.row_writers import Block, RowWriter

Touch = tuple[int, int, int, dt.date]
"""Batch, instrument, interval, first day of the month."""


class Batch(Protocol):
    """The batch record that a fact belongs to."""

    batch_id: int
    counts: Counts
    versions: int


class Pending(NamedTuple):
    """One version that arrived, ready to be written as ``ids`` and ``tail``."""

    key: Key
    version: Version
    ids: tuple[int, ...]
    tail: str
    batch: Batch
    touched: tuple[int, int, dt.date]
    """Instrument, interval and month that change when it comes into force."""


class _Stored(NamedTuple):
    """The version of a key that is in the tables."""

    key: Key
    version: Version


class VersionsMerge:
    """Merges facts into the tables within one transaction; ``batches`` are those whose counts it changed."""

    def __init__(self, connection: sa.Connection, ids: Dimensions, writer: RowWriter) -> None:
        self._connection = connection
        self._ids = ids
        self._writer = writer
        self.batches: list[Batch] = []

    def write(self, facts: FactTable, arrivals: Iterable[Pending]) -> set[Touch]:
        """Write arrivals, those of one key in the order of their arrival; return what they changed.

        Raises:
            sqlalchemy.exc.IntegrityError: another writer stored one of the keys at the same time.
        """
        by_key: dict[Key, list[Pending]] = defaultdict(list)
        for arrival in arrivals:
            by_key[arrival.key].append(arrival)
            if not any(arrival.batch is known for known in self.batches):
                self.batches.append(arrival.batch)
        if not by_key:
            return set()
        in_force = {stored.key: stored for stored in self._stored(facts, facts.table.name, by_key)}
        fresh: list[Pending] = []
        replacing: list[Pending] = []
        revisions: list[Pending] = []
        # in key order: two writers that lock rows in one order cannot deadlock
        for key in sorted(by_key):
            merged = merge(in_force.get(key), by_key[key])
            for arrival, outcome in zip(by_key[key], merged.outcomes, strict=True):
                counts = arrival.batch.counts
                setattr(counts, outcome.value, getattr(counts, outcome.value) + 1)
            if isinstance(merged.current, Pending):
                (replacing if key in in_force else fresh).append(merged.current)
            revisions += [version for version in merged.revisions if isinstance(version, Pending)]
        self._copy_replaced(facts, replacing)
        kept = self._not_kept_yet(facts, revisions)
        self._writer.insert(self._connection, facts.revisions.name, facts.written, _blocks(kept))
        self._writer.insert(self._connection, facts.table.name, facts.written, _blocks(fresh))
        self._writer.replace(self._connection, facts.table.name, facts.written, facts.key, _blocks(replacing))
        for arrival in (*kept, *fresh, *replacing):
            arrival.batch.versions += 1
        return {(arrival.batch.batch_id, *arrival.touched) for arrival in (*fresh, *replacing)}

    def _stored(self, facts: FactTable, table: str, keys: Iterable[Key]) -> Iterator[_Stored]:
        columns = (*facts.key, *facts.version)
        for statement in literals.select_by_key(table, columns, facts.key, facts.in_list, keys):
            records = self._connection.exec_driver_sql(statement).all()
            self._ids.know_ranks(self._connection, {record.source_id for record in records})
            for record in records:
                yield _Stored(*facts.read(record, self._ids))

    def _copy_replaced(self, facts: FactTable, replacing: Sequence[Pending]) -> None:
        keys = [arrival.key for arrival in replacing]
        names = (facts.table.name, facts.revisions.name)
        for statement in literals.copy_by_key(*names, facts.columns, facts.key, facts.in_list, keys):
            self._connection.exec_driver_sql(statement)

    def _not_kept_yet(self, facts: FactTable, revisions: Sequence[Pending]) -> list[Pending]:
        keys = {arrival.key for arrival in revisions}
        kept = {(stored.key, stored.version.digest) for stored in self._stored(facts, facts.revisions.name, keys)}
        return [arrival for arrival in revisions if (arrival.key, arrival.version.digest) not in kept]


def _blocks(arrivals: Sequence[Pending]) -> list[Block]:
    blocks: dict[tuple[int, ...], list[str]] = {}
    for arrival in arrivals:
        blocks.setdefault(arrival.ids, []).append(arrival.tail)
    return sorted(blocks.items())
