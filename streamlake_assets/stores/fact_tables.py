"""How bars and corporate actions lie in their tables: column order, keys, and the way from a fact to a row and back.

Belongs here: the two descriptions that let one ingest transaction serve both kinds of fact. Stays out: the transaction.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.messages import Arrival
from streamlake_assets.market.sessions import UTC, session_date
from streamlake_assets.market.types import Bar, CorporateAction
from streamlake_assets.market.versions import Version, action_version, bar_version
from streamlake_assets.stores import schema
from streamlake_assets.stores.dimensions import Dimensions

_STATUS_NUMBER = {name: number for number, name in enumerate(schema.STATUSES, 1)}
_KIND_NUMBER = {name: number for number, name in enumerate(schema.ACTION_KINDS, 1)}

Key = tuple[Any, ...]


class Row(NamedTuple):
    """One version of one fact as a table row.

    ``values`` follow the table's columns up to, not including, ``batch_id`` and ``kafka_offset``; ``batch_id`` is that
    of a stored row, else None: the batch is not written yet and ``slice_no`` says which it will be.
    """

    key: Key
    version: Version
    values: tuple[Any, ...]
    batch_id: int | None
    slice_no: int
    offset: int
    session: dt.date


class FactTable(NamedTuple):
    """One kind of fact: its tables, its key columns (the first of the table), and its conversions."""

    table: sa.Table
    revisions: sa.Table
    key: tuple[str, ...]
    in_list: str
    """The key column that a look-up lists for one value of the others."""
    to_row: Callable[[Arrival, int, Dimensions], Row]
    from_row: Callable[[Sequence[Any], Dimensions], Row]

    @property
    def columns(self) -> list[str]:
        """Names of all columns in table order."""
        return [column.name for column in self.table.columns]


def _bar_row(arrival: Arrival, slice_no: int, ids: Dimensions) -> Row:
    bar = arrival.fact
    if not isinstance(bar, Bar):
        raise IntegrityError(f"a {type(bar).__name__} arrived as a bar")
    source = ids.sources[bar.source]
    version = bar_version(bar, source.rank)
    session = session_date(bar.bar_time, bar.exchange)
    key = (ids.instruments[bar.instrument], ids.intervals[bar.interval.value], bar.bar_time)
    values = (
        *key,
        session,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        bar.vwap,
        bar.trades,
        _STATUS_NUMBER[bar.status.value],
        bar.synthetic,
        source.id,
        bar.as_of,
        bar.event_time,
        arrival.broker_time,
        version.digest,
    )
    return Row(key, version, values, None, slice_no, arrival.offset, session)


def _bar_stored(row: Sequence[Any], ids: Dimensions) -> Row:
    (instrument, interval, bar_time, session, *prices, status, synthetic, source) = row[:14]
    as_of, event_time, known_from = (value.replace(tzinfo=UTC) for value in row[14:17])
    digest, batch, offset = row[17:]
    key = (instrument, interval, bar_time.replace(tzinfo=UTC))
    version = Version(ids.rank_of(source), status == "settled", as_of, bytes(digest))
    values = (
        *key,
        session,
        *prices,
        _STATUS_NUMBER[status],
        bool(synthetic),
        source,
        as_of,
        event_time,
        known_from,
        bytes(digest),
    )
    return Row(key, version, values, batch, -1, offset, session)


def _action_row(arrival: Arrival, slice_no: int, ids: Dimensions) -> Row:
    action = arrival.fact
    if not isinstance(action, CorporateAction):
        raise IntegrityError(f"a {type(action).__name__} arrived as a corporate action")
    source = ids.sources[action.source]
    version = action_version(action, source.rank)
    key = (ids.instruments[action.instrument], action.ex_date, _KIND_NUMBER[action.kind.value])
    times = (action.as_of, action.event_time, arrival.broker_time)
    values = (*key, action.factor, source.id, *times, version.digest)
    return Row(key, version, values, None, slice_no, arrival.offset, action.ex_date)


def _action_stored(row: Sequence[Any], ids: Dimensions) -> Row:
    instrument, ex_date, kind, factor, source = row[:5]
    as_of, event_time, known_from = (value.replace(tzinfo=UTC) for value in row[5:8])
    digest, batch, offset = row[8:]
    key = (instrument, ex_date, _KIND_NUMBER[kind])
    version = Version(ids.rank_of(source), True, as_of, bytes(digest))
    values = (*key, factor, source, as_of, event_time, known_from, bytes(digest))
    return Row(key, version, values, batch, -1, offset, ex_date)


BARS = FactTable(
    schema.bars,
    schema.bar_revisions,
    ("instrument_id", "interval_id", "bar_time"),
    "bar_time",
    _bar_row,
    _bar_stored,
)
ACTIONS = FactTable(
    schema.corporate_actions,
    schema.corporate_action_revisions,
    ("instrument_id", "ex_date", "kind"),
    "ex_date",
    _action_row,
    _action_stored,
)


def table_of(arrival: Arrival) -> FactTable:
    """Return the tables that an arrival belongs to."""
    return BARS if isinstance(arrival.fact, Bar) else ACTIONS
