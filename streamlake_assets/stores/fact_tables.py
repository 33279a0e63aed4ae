"""How bars and corporate actions lie in their tables: column order, keys, and what a version is made of there.

Belongs here: the two descriptions that let one ingest transaction serve both kinds of fact. Stays out: the transaction.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.versions import Version
from streamlake_assets.stores import schema
from streamlake_assets.stores.dimensions import Dimensions

KIND_NUMBER: Final = {name: number for number, name in enumerate(schema.ACTION_KINDS, 1)}

Key = tuple[Any, ...]


class FactTable(NamedTuple):
    """One kind of fact: its tables, its columns as they are written, its key, and how a stored version is read.

    A row is written as ids, which only the transaction knows, and a tail, which is made of the message alone.
    """

    table: sa.Table
    revisions: sa.Table
    ids: tuple[str, ...]
    tail: tuple[str, ...]
    key: tuple[str, ...]
    in_list: str
    """The key column that a look-up lists for one value of the others."""
    version: tuple[str, ...]
    """Columns that hold a version's place in the order, after the key."""
    read: Callable[[Sequence[Any], Dimensions], tuple[Key, Version]]
    """From key and version columns of a stored row."""

    @property
    def written(self) -> tuple[str, ...]:
        """All columns in the order in which rows are written."""
        return (*self.ids, *self.tail)

    @property
    def columns(self) -> list[str]:
        """Names of all columns in table order."""
        return [column.name for column in self.table.columns]


def _stored_bar(row: Sequence[Any], ids: Dimensions) -> tuple[Key, Version]:
    instrument, interval, bar_time, source, status, as_of, digest = row
    version = Version(ids.rank_of(source), status == "settled", as_of.replace(tzinfo=UTC), bytes(digest))
    return (instrument, interval, bar_time.replace(tzinfo=UTC)), version


def _stored_action(row: Sequence[Any], ids: Dimensions) -> tuple[Key, Version]:
    instrument, ex_date, kind, source, as_of, digest = row
    version = Version(ids.rank_of(source), True, as_of.replace(tzinfo=UTC), bytes(digest))
    return (instrument, ex_date, KIND_NUMBER[kind]), version


BARS: Final = FactTable(
    schema.bars,
    schema.bar_revisions,
    ids=("instrument_id", "interval_id", "source_id", "batch_id"),
    tail=(
        *("bar_time", "session_date", "open", "high", "low", "close", "volume", "vwap", "trades", "status"),
        *("synthetic", "as_of", "event_time", "known_from", "version_hash", "kafka_offset"),
    ),
    key=("instrument_id", "interval_id", "bar_time"),
    in_list="bar_time",
    version=("source_id", "status", "as_of", "version_hash"),
    read=_stored_bar,
)
ACTIONS: Final = FactTable(
    schema.corporate_actions,
    schema.corporate_action_revisions,
    ids=("instrument_id", "source_id", "batch_id"),
    tail=("ex_date", "kind", "factor", "as_of", "event_time", "known_from", "version_hash", "kafka_offset"),
    key=("instrument_id", "ex_date", "kind"),
    in_list="ex_date",
    version=("source_id", "as_of", "version_hash"),
    read=_stored_action,
)


def first_of_month(session: dt.date) -> dt.date:
    """Return the first day of a session's month: how touches name it."""
    return session.replace(day=1)
