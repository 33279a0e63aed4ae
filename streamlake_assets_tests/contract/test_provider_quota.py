"""Calls of a provider are counted for all processes: no minute and no day holds more than its plan allows."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest

from streamlake_assets.errors import TryLaterError
from streamlake_assets.market.sessions import UTC
from streamlake_assets.stores import schema
from streamlake_assets.stores.provider_quota import ProviderQuota
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
SECOND = dt.timedelta(seconds=1)


class Clock:
    def __init__(self) -> None:
        self.now = dt.datetime(2024, 1, 2, 12, 0, 59, 500_000, tzinfo=UTC)

    def __call__(self) -> dt.datetime:
        return self.now


def quota(
    database: Database, clock: Clock, per_minute: int = 5, per_day: int = 1_000, name: str = "one"
) -> ProviderQuota:
    return ProviderQuota(database.writer, name, per_minute, per_day, clock)


def most_in(moments: list[dt.datetime], span: dt.timedelta) -> int:
    return max(sum(start <= one < start + span for one in moments) for start in moments)


def test_no_minute_holds_more_calls_than_allowed(database: Database) -> None:
    clock, made = Clock(), []
    found = quota(database, clock)
    for _ in range(23):
        clock.now += dt.timedelta(seconds=found.take())
        made.append(clock.now)
        clock.now += dt.timedelta(milliseconds=700)
    assert most_in(made, dt.timedelta(minutes=1)) == 5
    assert (made[-1] - made[0]).total_seconds() < 5 * 63, "and not much fewer"


def test_calls_that_wait_are_counted_when_they_will_be_made(database: Database) -> None:
    clock = Clock()
    found = quota(database, clock, per_minute=2)
    made = [clock.now + dt.timedelta(seconds=found.take()) for _ in range(7)]
    assert most_in(made, dt.timedelta(minutes=1)) == 2


def test_the_day_is_over_only_a_day_later_and_the_message_says_when(database: Database) -> None:
    clock = Clock()
    found = quota(database, clock, per_day=3)
    for _ in range(3):
        assert found.take() == 0
    with pytest.raises(TryLaterError, match=r"3 calls a day of one are used up; .* 2024-01-03 13:00 UTC"):
        found.take()
    clock.now += dt.timedelta(hours=23)
    with pytest.raises(TryLaterError):
        found.take()
    clock.now = dt.datetime(2024, 1, 3, 13, 0, 1, tzinfo=UTC)
    assert found.take() == 0


def test_another_process_and_a_restart_see_the_same_calls(database: Database) -> None:
    clock = Clock()
    with ThreadPoolExecutor(6) as pool:
        waits = list(pool.map(lambda _: quota(database, clock).take(), range(12)))
    assert sorted(waits)[:5] == [0.0] * 5 and sorted(waits)[5] > 0
    made = [clock.now + dt.timedelta(seconds=wait) for wait in waits]
    assert most_in(made, dt.timedelta(minutes=1)) == 5


def test_providers_do_not_share_their_calls_and_old_ones_are_forgotten(database: Database) -> None:
    clock = Clock()
    one, other = quota(database, clock, per_day=1), quota(database, clock, per_day=1, name="other")
    assert (one.take(), other.take()) == (0, 0)
    clock.now += dt.timedelta(days=3)
    one.take()
    kept = {
        row.provider
        for row in database.rows(schema.provider_quota)
        if row.window_start < clock.now.replace(tzinfo=None) - dt.timedelta(days=2)
    }
    assert kept == {"other"}
