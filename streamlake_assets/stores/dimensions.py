"""Ids of exchanges, sectors, instruments, sources, intervals and streams: found, or made on first sight.

Belongs here: the small tables that facts point to. Stays out: bars (``bar_store``). A cache holds what was committed;
what a transaction makes is handed to the cache only after its commit, so that a rollback leaves no ghost ids.
"""

import datetime as dt
from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.market.messages import StreamIdentity
from streamlake_assets.market.sessions import UTC, exchange_zone
from streamlake_assets.market.types import AssetClass, Bar, Instrument
from streamlake_assets.stores import schema

DEFAULT_RANK = 20
"""Rank of a source that nobody ranked: above made data, below a curated data set."""


class Description(NamedTuple):
    """What messages say about an instrument beside its bars; the greatest tuple is in force, whatever the order."""

    as_of: dt.datetime
    asset_class: str
    name: str
    sector: str
    currency: str


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
        missing = set(names) - self.sources.keys()
        if not missing:
            return
        table = schema.data_sources
        _insert_missing(connection, table, [{"name": name, "source_rank": DEFAULT_RANK} for name in sorted(missing)])
        self._load_sources(connection)

    def _load_sources(self, connection: sa.Connection) -> None:
        table = schema.data_sources
        found = connection.execute(sa.select(table.c.name, table.c.id, table.c.source_rank))
        self.sources = {row.name: SourceRow(row.id, row.source_rank) for row in found}
        self._ranks = {row.id: row.rank for row in self.sources.values()}

    def ensure_instruments(self, connection: sa.Connection, wanted: dict[Instrument, str]) -> None:
        """Make sure every instrument has an id; ``wanted`` maps it to its asset class, used for new ones."""
        missing = {instrument: kind for instrument, kind in wanted.items() if instrument not in self.instruments}
        if not missing:
            return
        mics = {instrument.exchange for instrument in missing}
        exchanges = schema.exchanges
        _insert_missing(connection, exchanges, [{"mic": mic, "zone": exchange_zone(mic).key} for mic in sorted(mics)])
        exchange_ids = {
            row.mic: row.id
            for row in connection.execute(sa.select(exchanges.c.mic, exchanges.c.id).where(exchanges.c.mic.in_(mics)))
        }
        table = schema.instruments
        _insert_missing(
            connection,
            table,
            [
                {"symbol": i.symbol, "exchange_id": exchange_ids[i.exchange], "asset_class": kind}
                for i, kind in sorted(missing.items())
            ],
        )
        found = connection.execute(
            sa.select(table.c.symbol, exchanges.c.mic, table.c.id)
            .join(exchanges, exchanges.c.id == table.c.exchange_id)
            .where(table.c.symbol.in_({i.symbol for i in missing}))
        )
        self.instruments.update({Instrument(row.symbol, row.mic): row.id for row in found})

    def describe(self, connection: sa.Connection, bars: Iterable[Bar]) -> None:
        """Store the newest description of each instrument that its bars carry."""
        newest: dict[Instrument, Description] = {}
        for bar in bars:
            if bar.name is None and bar.sector is None and bar.currency is None:
                continue
            said = Description(bar.as_of, bar.asset_class.value, bar.name or "", bar.sector or "", bar.currency or "")
            instrument = bar.instrument
            if instrument not in newest or said > newest[instrument]:
                newest[instrument] = said
        for instrument, said in sorted(newest.items()):
            if said > self._stored_description(connection, instrument):
                self._write_description(connection, instrument, said)
                self._described[instrument] = said

    def _stored_description(self, connection: sa.Connection, instrument: Instrument) -> Description:
        if instrument not in self._described:
            table, sectors = schema.instruments, schema.sectors
            row = connection.execute(
                sa.select(table, sectors.c.name.label("sector_name"))
                .outerjoin(sectors, sectors.c.id == table.c.sector_id)
                .where(table.c.id == self.instruments[instrument])
            ).one()
            as_of = row.described_as_of or dt.datetime(1, 1, 1)  # noqa: DTZ001  # made aware just below
            self._described[instrument] = Description(
                as_of.replace(tzinfo=UTC), row.asset_class, row.name or "", row.sector_name or "", row.currency or ""
            )
        return self._described[instrument]

    def _write_description(self, connection: sa.Connection, instrument: Instrument, said: Description) -> None:
        sector_id = None
        if said.sector:
            _insert_missing(connection, schema.sectors, [{"name": said.sector}])
            sector_id = connection.execute(
                sa.select(schema.sectors.c.id).where(schema.sectors.c.name == said.sector)
            ).scalar_one()
        connection.execute(
            sa.update(schema.instruments)
            .where(schema.instruments.c.id == self.instruments[instrument])
            .values(
                asset_class=AssetClass(said.asset_class).value,
                name=said.name or None,
                sector_id=sector_id,
                currency=said.currency or None,
                described_as_of=said.as_of.replace(tzinfo=None),
            )
        )


def ensure_stream(connection: sa.Connection, stream: StreamIdentity) -> int:
    """Return the id of a stream, made on first sight."""
    table = schema.streams
    _insert_missing(connection, table, [stream._asdict()])
    return int(
        connection.execute(
            sa.select(table.c.id).where(table.c.cluster_id == stream.cluster_id, table.c.topic_id == stream.topic_id)
        ).scalar_one()
    )


def _insert_missing(connection: sa.Connection, table: sa.Table, records: list[dict[str, object]]) -> None:
    # a row that exists is left alone: its id is assigned to itself; INSERT IGNORE would hide other errors too
    statement = mysql.insert(table)
    connection.execute(statement.on_duplicate_key_update(id=table.c.id), records)
