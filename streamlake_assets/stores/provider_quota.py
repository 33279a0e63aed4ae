"""Calls of a provider's API that were made, counted for all processes that use one key.

Belongs here: the table ``provider_quota`` and the decision when the next call may be made. Stays out: the calls.

Calls are kept in buckets of a second for a minute, and of an hour for a day. Both limits hold over any minute and any
day, not only over those of the clock: a bucket counts until all of it is old.
"""

import datetime as dt
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.errors import TryLaterError
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.operations import exclusive

_MINUTE, _DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
_SECOND_BUCKET: Final = 1
_HOUR_BUCKET: Final = 3_600
_PATIENCE_S: Final = 20


class ProviderQuota:
    """``sources.http_json.Quota`` in MySQL."""

    def __init__(
        self, engine: sa.Engine, provider: str, per_minute: int, per_day: int, now: Callable[[], dt.datetime]
    ) -> None:
        """Make a quota; ``now`` gives aware times."""
        self._engine = engine
        self._provider = provider
        self._per_minute = per_minute
        self._per_day = per_day
        self._now = now

    def take(self) -> float:
        """Count one call; return the seconds to wait before it.

        Raises:
            TryLaterError: the calls of the day are used up, or the database is not available.
        """
        # two processes that look at the same moment must not both take the last call
        with (
            exclusive(self._engine, f"quota_{self._provider}", _PATIENCE_S),
            outages_as_try_later("counting calls of a provider"),
            self._engine.begin() as connection,
        ):
            return self._take(connection)

    def _take(self, connection: sa.Connection) -> float:
        now = self._now()
        table = schema.provider_quota
        today = self._buckets(connection, _HOUR_BUCKET, now - _DAY)
        if sum(calls for _, calls in today) >= self._per_day:
            again = today[0][0] + _DAY + dt.timedelta(seconds=_HOUR_BUCKET)
            raise TryLaterError(
                f"the {self._per_day} calls a day of {self._provider} are used up; the next one is free at "
                f"{again:%Y-%m-%d %H:%M} UTC"
            )
        at = now
        while True:
            recent = self._buckets(connection, _SECOND_BUCKET, at - _MINUTE)
            if sum(calls for _, calls in recent) < self._per_minute:
                break
            # when the oldest bucket is over; calls that wait already stand there with their time
            at = recent[0][0] + _MINUTE + dt.timedelta(seconds=_SECOND_BUCKET)
        for seconds in (_SECOND_BUCKET, _HOUR_BUCKET):
            start = _bucket(at, seconds).replace(tzinfo=None)
            statement = mysql.insert(table).values(
                provider=self._provider, window_start=start, window_seconds=seconds, calls=1
            )
            connection.execute(statement.on_duplicate_key_update(calls=table.c.calls + 1))
        connection.execute(
            sa.delete(table).where(
                table.c.provider == self._provider, table.c.window_start < (now - 2 * _DAY).replace(tzinfo=None)
            )
        )
        return (at - now).total_seconds()

    def _buckets(self, connection: sa.Connection, seconds: int, after: dt.datetime) -> list[tuple[dt.datetime, int]]:
        """Return start and calls of the buckets that are not over at a moment, oldest first."""
        table = schema.provider_quota
        rows = connection.execute(
            sa.select(table.c.window_start, table.c.calls)
            .where(
                table.c.provider == self._provider,
                table.c.window_seconds == seconds,
                table.c.window_start > (after - dt.timedelta(seconds=seconds)).replace(tzinfo=None),
            )
            .order_by(table.c.window_start)
        )
        return [(row.window_start.replace(tzinfo=dt.UTC), int(row.calls)) for row in rows]


def _bucket(moment: dt.datetime, seconds: int) -> dt.datetime:
    epoch = int(moment.timestamp())
    return dt.datetime.fromtimestamp(epoch - epoch % seconds, dt.UTC)
