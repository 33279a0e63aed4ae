"""Ids of exchanges, sectors, instruments, sources, intervals and streams: found, or made on first sight.

Belongs here: the small tables that facts point to. Stays out: bars (``bar_store``). A cache holds what was committed;
what a transaction makes is handed to the cache only after its commit, so that a rollback leaves no ghost ids.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.sessions import UTC, exchange_zone
from streamlake_assets.market.types import AssetClass, Bar, Instrument
from streamlake_assets.stores import literals, schema

_NEVER = dt.datetime(1, 1, 1, tzinfo=UTC)
"""``as_of`` of an instrument that no message has described."""
UNSEEN_CLASS = AssetClass.STOCK
"""Class of an instrument before its first bar; the last of all names, so that the class of any bar replaces it."""
DEFAULT_RANK = 20
"""Rank of a source that nobody ranked: above made data, below a curated data set."""


class Description(NamedTuple):
    """What messages say about an instrument beside its bars; the greatest tuple is in force, whatever the order."""

    as_of: dt.datetime
    asset_class: str
    name: str
    sector: str
    currency: str

    @classmethod
    def of(cls, bar: Bar) -> "Description":
        """Return what a bar's message says of its instrument."""
        labels = ((text or "").strip() for text in (bar.name, bar.sector, bar.currency))
        return cls(bar.as_of, bar.asset_class.value, *labels)


class SourceRow(NamedTuple):
    """Id and rank of a source."""

    id: int
    rank: int


class Dimensions:
    """Ids by natural key, cached; call ``forget`` after a rollback."""

    def __init__(self) -> None:
        self.instruments: dict[Instrument, int] = {}
        self.sources: dict[str, SourceRow] = {}
        self._ranks: dict[int, int] = {}
        self.intervals: dict[str, int] = {}
        self._described: dict[Instrument, Description] = {}

    def forget(self) -> None:
        """Drop all that was learned: the transaction that made it was rolled back."""
        self.__init__()  # type: ignore[misc]

    def load_intervals(self, connection: sa.Connection) -> None:
        """Read the ids of the bar intervals; they are fixed by the migration."""
        if not self.intervals:
            table = schema.bar_intervals
            self.intervals = {row.name: row.id for row in connection.execute(sa.select(table.c.name, table.c.id))}

    def rank_of(self, source_id: int) -> int:
        """Return the rank of a stored row's source."""
        return self._ranks[source_id]

    def know_ranks(self, connection: sa.Connection, source_ids: set[int]) -> None:
        """Make sure ``rank_of`` answers for these ids: another consumer may have met a source first."""
        if not source_ids <= self._ranks.keys():
            self._load_sources(connection)

    def ensure_sources(self, connection: sa.Connection, names: Iterable[str]) -> None:
        """Make sure every source has an id and a rank, and that all ranks are known: stored rows have sources too."""
        wanted = set(names)
        if not wanted <= self.sources.keys():
            self._load_sources(connection)
        missing = wanted - self.sources.keys()
        if missing:
            records: list[dict[str, object]] = [{"name": name, "source_rank": DEFAULT_RANK} for name in sorted(missing)]
            _insert_missing(connection, schema.data_sources, records)
            self._load_sources(connection)

    def _load_sources(self, connection: sa.Connection) -> None:
        table = schema.data_sources
        found = connection.execute(sa.select(table.c.name, table.c.id, table.c.source_rank))
        self.sources = {row.name: SourceRow(row.id, row.source_rank) for row in found}
        self._ranks = {row.id: row.rank for row in self.sources.values()}

    def ensure_instruments(self, connection: sa.Connection, wanted: Mapping[Instrument, str]) -> None:
        """Make sure every instrument has an id; ``wanted`` maps it to its asset class, used for new ones."""
        missing = wanted.keys() - self.instruments.keys()
        if missing:
            self._load_instruments(connection, missing)
        new = sorted(missing - self.instruments.keys())
        if new:
            exchange_ids = _exchange_ids(connection, {instrument.exchange for instrument in new})
            records: list[dict[str, object]] = [
                {"symbol": i.symbol, "exchange_id": exchange_ids[i.exchange], "asset_class": wanted[i]} for i in new
            ]
            _insert_missing(connection, schema.instruments, records)
            self._load_instruments(connection, new)

    def describe(
        self, connection: sa.Connection, described: Mapping[Instrument, Description], classes: Mapping[Instrument, str]
    ) -> None:
        """Store the newest description of each instrument.

        An instrument that no bar has described has the first of its bars' classes by name: any order of arrival ends
        in the same row.

        Args:
            connection: in a transaction.
            described: the greatest description of each instrument that a bar describes.
            classes: the first class by name of each instrument's bars that describe nothing.
        """
        for instrument, said in sorted(described.items()):
            if said > self._described[instrument]:
                self._write_description(connection, instrument, said)
        for instrument, asset_class in sorted(classes.items()):
            stored = self._described[instrument]
            if stored.as_of == _NEVER and asset_class < stored.asset_class:
                self._write_description(connection, instrument, stored._replace(asset_class=asset_class))

    def _load_instruments(self, connection: sa.Connection, wanted: Iterable[Instrument]) -> None:
        i, e, s = schema.instruments, schema.exchanges, schema.sectors
        found = connection.execute(
            sa.select(i, e.c.mic, s.c.name.label("sector"))
            .join(e, e.c.id == i.c.exchange_id)
            .outerjoin(s, s.c.id == i.c.sector_id)
            .where(i.c.symbol.in_({instrument.symbol for instrument in wanted}))
        )
        for row in found:
            instrument = Instrument(row.symbol, row.mic)
            as_of = _NEVER if row.described_as_of is None else row.described_as_of.replace(tzinfo=UTC)
            self.instruments[instrument] = row.id
            self._described[instrument] = Description(
                as_of, row.asset_class, row.name or "", row.sector or "", row.currency or ""
            )

    def _write_description(self, connection: sa.Connection, instrument: Instrument, said: Description) -> None:
        table = schema.instruments
        as_of = None if said.as_of == _NEVER else said.as_of.replace(tzinfo=None)
        # the condition holds for a consumer that had the partition before, and remembers an older description
        is_newer = table.c.described_as_of.is_(None) | (table.c.described_as_of <= as_of) if as_of else sa.true()
        connection.execute(
            sa.update(table)
            .where(table.c.id == self.instruments[instrument], is_newer)
            .values(
                asset_class=said.asset_class,
                name=said.name or None,
                sector_id=_sector_id(connection, said.sector) if said.sector else None,
                currency=said.currency or None,
                described_as_of=as_of,
            )
        )
        self._described[instrument] = said


def hold_parents(connection: sa.Connection, instruments: set[int], intervals: set[int], sources: set[int]) -> bool:
    """Lock what bars are about to point to until the end of the transaction; return whether all of it is there.

    What a foreign key does for each row, once for all of them: nobody can delete a parent meanwhile, and those who try
    later find its bars.
    """
    parents = [
        (schema.instruments.name, sorted(instruments)),
        (schema.bar_intervals.name, sorted(intervals)),
        (schema.data_sources.name, sorted(sources)),
    ]
    found = connection.exec_driver_sql(literals.hold_parents(parents)).all()
    return len(found) == len(instruments) + len(intervals) + len(sources)


def ensure_stream(connection: sa.Connection, stream: StreamIdentity) -> int:
    """Return the id of a stream, made on first sight."""
    table = schema.streams
    query = sa.select(table.c.id).where(table.c.cluster_id == stream.cluster_id, table.c.topic_id == stream.topic_id)
    found = connection.execute(query).scalar()
    if found is None:
        _insert_missing(connection, table, [stream._asdict()])
        found = connection.execute(query).scalar_one()
    return int(found)


def _exchange_ids(connection: sa.Connection, mics: set[str]) -> dict[str, int]:
    table = schema.exchanges
    query = sa.select(table.c.mic, table.c.id).where(table.c.mic.in_(mics))
    ids = {row.mic: row.id for row in connection.execute(query)}
    if missing := sorted(mics - ids.keys()):
        _insert_missing(connection, table, [{"mic": mic, "zone": exchange_zone(mic).key} for mic in missing])
        ids = {row.mic: row.id for row in connection.execute(query)}
    return ids


def _sector_id(connection: sa.Connection, name: str) -> int:
    query = sa.select(schema.sectors.c.id).where(schema.sectors.c.name == name)
    found = connection.execute(query).scalar()
    if found is None:
        _insert_missing(connection, schema.sectors, [{"name": name}])
        found = connection.execute(query).scalar_one()
    return int(found)


def _insert_missing(connection: sa.Connection, table: sa.Table, records: list[dict[str, object]]) -> None:
    # only for rows that were looked for: each try takes an id, and small ids would run out. A row that another consumer
    # made since is left alone, its id assigned to itself: INSERT IGNORE would hide other errors too
    statement = mysql.insert(table)
    connection.execute(statement.on_duplicate_key_update(id=table.c.id), records)
