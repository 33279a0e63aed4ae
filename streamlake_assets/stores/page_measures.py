"""What pages read from MySQL to measure periods: settled daily sessions of every instrument, and what each one is.

Belongs here: bounded SELECTs of the ``reader`` user and the series they give. Stays out: the measures
(``market.measures``), the same series out of documents (``documents``).
"""

from itertools import groupby
from typing import Final

import msgspec
import numpy as np
import sqlalchemy as sa

from streamlake_assets.errors import UsageError
from streamlake_assets.market.series import SessionSeries, ordinal
from streamlake_assets.market.types import AssetClass, Instrument, Interval, Status
from streamlake_assets.stores import bar_reader, schema
from streamlake_assets.stores import page_queries as ask

MOST_ROWS: Final = 1_000_000
"""Sessions that a page reads at most; more are refused, since instruments would be cut."""


class Described(msgspec.Struct, frozen=True):
    """An instrument, what kind it is, and its sector and name where a source named them."""

    instrument: Instrument
    asset_class: AssetClass
    sector: str | None
    name: str | None


def described(connection: sa.Connection) -> tuple[Described, ...]:
    """Return every instrument, by symbol and exchange."""
    i, e, s = schema.instruments.c, schema.exchanges.c, schema.sectors.c
    query = (
        sa.select(i.symbol, e.mic, i.asset_class, s.name.label("sector"), i.name)
        .join_from(schema.instruments, schema.exchanges, e.id == i.exchange_id)
        .join(schema.sectors, s.id == i.sector_id, isouter=True)
        .order_by(i.symbol, e.mic)
    )
    return tuple(
        Described(Instrument(row.symbol, row.mic), AssetClass(row.asset_class), row.sector, row.name)
        for row in connection.execute(query)
    )


def daily_series(connection: sa.Connection) -> list[SessionSeries]:
    """Return the settled daily bars of every instrument as series with their corporate-action factors.

    Raises:
        UsageError: there are more than a page reads.
    """
    b = schema.bars.c
    known = bar_reader.instruments(connection)
    rows = connection.execute(
        sa.select(b.instrument_id, b.session_date, b.open, b.high, b.low, b.close, b.volume)
        .where(
            b.instrument_id.in_(sorted(known)),
            b.interval_id == ask.interval_id(Interval.D1),
            b.status == Status.SETTLED.value,
        )
        .order_by(b.instrument_id, b.bar_time)
        .limit(MOST_ROWS + 1)
    ).all()
    if len(rows) > MOST_ROWS:
        raise UsageError(f"more than {MOST_ROWS:,} daily bars: too many to measure for a page; the documents have them")
    found = []
    for number, group in groupby(rows, key=lambda row: row.instrument_id):
        part = list(group)
        factors = bar_reader.factors(connection, number)
        columns = {
            name: np.array([float(getattr(row, name)) for row in part]) for name in ("open", "high", "low", "close")
        }
        volume = np.array([np.nan if row.volume is None else float(row.volume) for row in part])
        of = known[number]
        found.append(
            SessionSeries(
                symbol=of.instrument.symbol,
                exchange=of.instrument.exchange,
                asset_class=of.asset_class,
                sessions=np.array([ordinal(row.session_date) for row in part], dtype=np.int64),
                factor=np.array([float(factors.get(row.session_date, 1)) for row in part]),
                volume=volume,
                **columns,
            )
        )
    return found
