"""Market time: what pages say, and that old market dates never make data stale."""

import datetime as dt

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.clock import MarketTime, ReplayState

NOW = dt.datetime(2026, 3, 7, 12, tzinfo=dt.UTC)
LIMIT = dt.timedelta(seconds=60)


def market(replay: ReplayState, seconds_ago: float, pace: float | None = None) -> MarketTime:
    return MarketTime(
        session=dt.date(2013, 1, 14),
        last_arrival=NOW - dt.timedelta(seconds=seconds_ago),
        replay=replay,
        sessions_per_second=pace,
    )


@pytest.mark.parametrize(
    ("replay", "pace", "text"),
    [
        (ReplayState.RUNNING, 2.0, "market 2013-01-14, replay 2 sessions/s"),
        (ReplayState.RUNNING, 1.0, "market 2013-01-14, replay 1 session/s"),
        (ReplayState.RUNNING, 0.5, "market 2013-01-14, replay 0.5 sessions/s"),
        (ReplayState.RUNNING, None, "market 2013-01-14, replay at full speed"),
        (ReplayState.PAUSED, 2.0, "market 2013-01-14, replay paused"),
        (ReplayState.FINISHED, None, "market 2013-01-14, replay finished"),
        (ReplayState.LIVE, None, "market 2013-01-14, live"),
    ],
)
def test_the_header_says_where_the_market_is(replay: ReplayState, pace: float | None, text: str) -> None:
    assert market(replay, 1, pace).text == text


def test_before_any_data_nothing_is_claimed() -> None:
    empty = MarketTime()
    assert empty.text == "no data yet"
    assert not empty.staleness(NOW, LIMIT).is_stale


def test_old_market_dates_are_not_stale_while_messages_arrive() -> None:
    assert not market(ReplayState.RUNNING, 5).staleness(NOW, LIMIT).is_stale
    assert not market(ReplayState.LIVE, 5).staleness(NOW, LIMIT).is_stale


@pytest.mark.parametrize("replay", [ReplayState.FINISHED, ReplayState.PAUSED])
def test_a_replay_that_owes_nothing_is_never_stale(replay: ReplayState) -> None:
    late = market(replay, 86_400).staleness(NOW, LIMIT)
    assert not late.is_stale
    assert late.text == f"replay {replay.value}"


@pytest.mark.parametrize("replay", [ReplayState.RUNNING, ReplayState.LIVE])
def test_silence_beyond_the_limit_is_stale(replay: ReplayState) -> None:
    late = market(replay, 61).staleness(NOW, LIMIT)
    assert late.is_stale
    assert late.age_seconds == 61
    assert "61 s" in late.text
    assert not market(replay, 60).staleness(NOW, LIMIT).is_stale


def test_live_data_are_fresh_over_a_weekend_and_stale_once_a_bar_is_due() -> None:
    friday_close = NOW - dt.timedelta(hours=16)
    after_close = market(ReplayState.LIVE, 15 * 3600)
    before_close = market(ReplayState.LIVE, 17 * 3600)
    assert not after_close.staleness(NOW, LIMIT, due=friday_close).is_stale
    assert before_close.staleness(NOW, LIMIT, due=friday_close).is_stale
    assert not before_close.staleness(NOW, LIMIT, due=NOW + dt.timedelta(hours=1)).is_stale


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="zone"):
        market(ReplayState.LIVE, 1).staleness(NOW.replace(tzinfo=None), LIMIT)
