"""When a refresh is asked for: names, due times, reasons to wait, failures; and two years in which none is missed."""

import datetime as dt
import itertools
import random
from bisect import bisect_right
from collections.abc import Sequence
from zoneinfo import ZoneInfo

import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.refresh_plan import (
    Market,
    RefreshPlan,
    RefreshRun,
    RunState,
    gather_markets,
    name_of,
    plan_refresh,
    read_name,
)
from streamlake_assets.market.types import AssetClass

NEW_YORK = ZoneInfo("America/New_York")
DELAY = dt.timedelta(minutes=150)
HOUR = dt.timedelta(hours=1)
DAY = dt.timedelta(days=1)
D = dt.date
STOCK, CRYPTO = AssetClass.STOCK, AssetClass.CRYPTO


def at(month: int, day: int, hour: int, minute: int = 0, year: int = 2025) -> dt.datetime:
    return dt.datetime(year, month, day, hour, minute, tzinfo=NEW_YORK)


def xnys(newest: dt.date) -> Market:
    return Market("XNYS", STOCK, newest)


def done(name: str) -> RefreshRun:
    return RefreshRun(name, RunState.DONE)


def plan(now: dt.datetime, *markets: Market, runs: Sequence[RefreshRun] = (), early: bool = False) -> RefreshPlan:
    return plan_refresh(now, markets, runs, settle_delay=DELAY, early=early)


REFRESHED = [done("XNYS 2025-11-25")]


def test_a_refresh_is_named_by_its_sessions_and_read_back() -> None:
    sessions = {"crypto": D(2025, 11, 26), "XNYS": D(2025, 11, 25)}
    assert name_of(sessions) == "XNYS 2025-11-25, crypto 2025-11-26"
    assert read_name(name_of(sessions)) == sessions


@pytest.mark.parametrize("wrong", ["XNYS", "XNYS 2025-13-01", "", "2025-11-25"])
def test_what_names_no_refresh_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="names no refresh"):
        read_name(wrong)


def test_exchanges_and_all_crypto_are_the_markets() -> None:
    rows = [
        ("XXXX", CRYPTO, D(2025, 11, 26)),
        ("XNYS", AssetClass.INDEX, D(2025, 11, 24)),
        ("XNYS", STOCK, D(2025, 11, 25)),
        ("CCCC", CRYPTO, D(2025, 11, 27)),
    ]
    found = {market.name: market.newest for market in gather_markets(rows)}
    assert found == {"XNYS": D(2025, 11, 25), "crypto": D(2025, 11, 27)}


@pytest.mark.parametrize(
    ("session", "due"),
    [
        (D(2025, 11, 25), at(11, 25, 18, 30)),
        (D(2025, 11, 28), at(11, 28, 15, 30)),  # a half day
        (D(2025, 7, 3), at(7, 3, 15, 30)),
        (D(2025, 3, 10), at(3, 10, 18, 30)),  # the first in summer time
    ],
)
def test_a_session_is_due_a_delay_after_its_close_and_not_a_minute_before(session: dt.date, due: dt.datetime) -> None:
    runs = [done(f"XNYS {session - 20 * DAY}")]
    before = plan(due - dt.timedelta(minutes=1), xnys(session), runs=runs)
    assert before.name != f"XNYS {session}"
    assert plan(due, xnys(session), runs=runs).run_key == f"XNYS {session}"


def test_crypto_is_due_every_day_after_midnight_utc() -> None:
    coins = Market("XXXX", CRYPTO, D(2025, 12, 25))
    runs = [done("crypto 2025-12-24")]
    due = dt.datetime(2025, 12, 26, 2, 30, tzinfo=dt.UTC)
    assert plan(due, coins, runs=runs).run_key == "crypto 2025-12-25"
    assert "2025-12-25 has not settled" in plan(due.replace(hour=0), coins, runs=runs).reason


@pytest.mark.parametrize(
    ("now", "newest", "reason"),
    [
        (
            at(11, 25, 19),
            D(2025, 11, 25),
            "XNYS: already refreshed to 2025-11-25; 2025-11-26 is due 2025-11-26 18:30 EST",
        ),
        (at(11, 26, 12), D(2025, 11, 25), "2025-11-26 has not settled, due 2025-11-26 18:30 EST"),
        (at(11, 26, 17), D(2025, 11, 26), "2025-11-26 has not settled, due 2025-11-26 18:30 EST"),
        (at(11, 26, 19), D(2025, 11, 25), "no new data since: 2025-11-26 was due 2025-11-26 18:30 EST"),
    ],
)
def test_the_reason_to_wait_is_said(now: dt.datetime, newest: dt.date, reason: str) -> None:
    found = plan(now, xnys(newest), runs=REFRESHED)
    assert found.run_key is None
    assert reason in found.reason


def test_a_holiday_and_a_weekend_are_named() -> None:
    runs = [done("XNYS 2025-11-26")]
    thanksgiving = plan(at(11, 27, 19), xnys(D(2025, 11, 26)), runs=runs)
    assert "2025-11-27 is a holiday of XNYS; 2025-11-28 is due 2025-11-28 15:30 EST" in thanksgiving.reason
    saturday = plan(at(11, 29, 19), xnys(D(2025, 11, 28)), runs=[done("XNYS 2025-11-28")])
    assert "2025-11-29 is a Saturday; 2025-12-01 is due" in saturday.reason


def test_on_a_holiday_of_the_exchange_crypto_is_refreshed() -> None:
    coins = Market("XXXX", CRYPTO, D(2025, 11, 26))
    runs = [done("XNYS 2025-11-26, crypto 2025-11-25")]
    found = plan(at(11, 27, 8), xnys(D(2025, 11, 26)), coins, runs=runs)
    assert found.run_key == "XNYS 2025-11-26, crypto 2025-11-26"
    assert found.covers == {"crypto": [D(2025, 11, 26)]}


def test_without_data_and_while_a_run_goes_on_nothing_is_asked_for() -> None:
    assert plan(at(11, 25, 19)).reason == "no settled session is stored yet"
    by_hand = plan(at(11, 25, 19), xnys(D(2025, 11, 25)), runs=[RefreshRun("", RunState.RUNNING)])
    assert (by_hand.run_key, "by hand" in by_hand.reason) == (None, True)
    again = plan(at(11, 25, 19), xnys(D(2025, 11, 25)), runs=[RefreshRun("XNYS 2025-11-25", RunState.RUNNING)])
    assert again.reason == "a daily run is in progress: XNYS 2025-11-25"


def test_one_run_catches_up_and_says_what_it_covers() -> None:
    found = plan(at(12, 2, 20), xnys(D(2025, 12, 2)), runs=REFRESHED)
    assert found.run_key == "XNYS 2025-12-02"
    assert found.covers == {"XNYS": [D(2025, 11, 26), D(2025, 11, 28), D(2025, 12, 1), D(2025, 12, 2)]}
    assert found.reason == "XNYS, catching up 4 sessions: 2025-11-26 to 2025-12-02"


def test_in_a_replay_only_what_was_revealed_is_refreshed() -> None:
    runs = [done("XNYS 2013-01-11")]
    assert plan(at(11, 25, 19), xnys(D(2013, 1, 15)), runs=runs).covers == {"XNYS": [D(2013, 1, 14), D(2013, 1, 15)]}
    nothing = plan(at(11, 25, 19), xnys(D(2013, 1, 11)), runs=runs)
    assert nothing.run_key is None
    assert "no new data since: 2013-01-14 was due" in nothing.reason


def test_the_first_refresh_covers_all_there_is() -> None:
    assert plan(at(11, 25, 19), xnys(D(2013, 3, 1))).reason == "XNYS, for the first time, up to 2013-03-01"


@pytest.mark.parametrize("day", [D(1960, 1, 4), D(2090, 1, 4)])
def test_days_that_no_calendar_knows_are_due_after_their_end(day: dt.date) -> None:
    late = dt.datetime(2091, 1, 1, tzinfo=dt.UTC)
    found = plan(late, xnys(day))
    assert found.run_key == f"XNYS {day}"
    following = plan(late, xnys(day + DAY), runs=[done(f"XNYS {day}")])
    assert following.covers == {"XNYS": [day + DAY]}
    assert plan(late, xnys(day), runs=[done(f"XNYS {day}")]).run_key is None


def test_an_early_look_takes_what_is_stored_before_it_is_due() -> None:
    now = at(11, 26, 16, 10)
    assert plan(now, xnys(D(2025, 11, 26)), runs=REFRESHED).run_key is None
    assert plan(now, xnys(D(2025, 11, 26)), runs=REFRESHED, early=True).run_key == "XNYS 2025-11-26"
    nothing = plan(now, xnys(D(2025, 11, 25)), runs=REFRESHED, early=True)
    assert (nothing.run_key, "has not settled" in nothing.reason) == (None, True)


def failures(count: int, ended: dt.datetime) -> list[RefreshRun]:
    return [RefreshRun("XNYS 2025-11-26", RunState.FAILED, ended)] * count + REFRESHED


def test_a_failed_refresh_is_asked_for_again_after_longer_and_longer_and_then_left_to_the_next_session() -> None:
    failed = at(11, 26, 18, 40)

    def later(count: int, minutes: int, early: bool = False) -> RefreshPlan:
        now = failed + dt.timedelta(minutes=minutes)
        return plan(now, xnys(D(2025, 11, 26)), runs=failures(count, failed), early=early)

    assert "asked for again from 2025-11-26 23:50 UTC" in later(1, 9).reason
    assert later(1, 10).run_key == "XNYS 2025-11-26 (try 2)"
    assert later(2, 119).run_key is None
    assert later(2, 120).run_key == "XNYS 2025-11-26 (try 3)"
    assert "failed 3 times; the next session's refresh covers it" in later(3, 1000).reason
    assert later(3, 1000, early=True).run_key == "XNYS 2025-11-26 (try 4)"
    following = plan(at(11, 28, 16), xnys(D(2025, 11, 28)), runs=failures(3, failed))
    assert following.covers == {"XNYS": [D(2025, 11, 26), D(2025, 11, 28)]}


def test_a_cancelled_refresh_is_left_to_the_next_session() -> None:
    runs = [RefreshRun("XNYS 2025-11-26", RunState.CANCELLED, at(11, 26, 18, 40)), *REFRESHED]
    found = plan(at(11, 26, 23), xnys(D(2025, 11, 26)), runs=runs)
    assert (found.run_key, "was cancelled" in found.reason) == (None, True)


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="zone"):
        plan(dt.datetime(2025, 11, 26), xnys(D(2025, 11, 26)))  # noqa: DTZ001


def is_afternoon(now: dt.datetime) -> bool:
    """Tell whether it is the moment of the second schedule."""
    return now.astimezone(ZoneInfo("Africa/Casablanca")).strftime("%H:%M") == "15:30"


class Years:
    """Two years of a machine: bars that arrive, a daemon that is down at times, runs that take time and may fail.

    Sessions and half days are told by the calendar of the library itself; when they are due is counted here anew.
    """

    def __init__(self, seed: int, share_failing: float) -> None:
        import exchange_calendars

        self.random = random.Random(seed)
        self.share_failing = share_failing
        calendar = exchange_calendars.get_calendar("XNYS", start="2024-01-01", end="2025-12-31")
        self.start, self.end = D(2024, 1, 2), D(2025, 12, 31)
        days = [one.date() for one in calendar.sessions_in_range("2024-01-02", "2025-12-31")]
        half = {one.date() for one in calendar.early_closes}
        close = {day: dt.time(13 if day in half else 16) for day in days}
        self.sessions = {
            "XNYS": days,
            "crypto": [self.start + n * DAY for n in range((self.end - self.start).days + 1)],
        }
        self.due = {("XNYS", day): dt.datetime.combine(day, close[day], NEW_YORK) + DELAY for day in days}
        midnight = dt.time(tzinfo=dt.UTC)
        self.due |= {("crypto", d): dt.datetime.combine(d + DAY, midnight) + DELAY for d in self.sessions["crypto"]}
        self.stored = {key: due - DELAY + self.lateness() for key, due in self.due.items()}
        self.arrivals = {
            market: sorted((self.stored[market, day].timestamp(), day) for day in days)
            for market, days in self.sessions.items()
        }
        self.reached = {
            market: list(itertools.accumulate((day for _, day in there), max))
            for market, there in self.arrivals.items()
        }
        self.down = self.outages()
        self.runs: list[RefreshRun] = []
        self.asked: list[tuple[dt.datetime, RefreshPlan]] = []

    def lateness(self) -> dt.timedelta:
        minutes = self.random.choices((5, 200, 600, 3000), weights=(90, 6, 3, 1))[0]
        return dt.timedelta(minutes=self.random.uniform(1, minutes))

    def outages(self) -> list[tuple[dt.datetime, dt.datetime]]:
        first = dt.datetime.combine(self.start, dt.time(), dt.UTC)
        starts = sorted(first + dt.timedelta(hours=self.random.uniform(48, 700 * 24)) for _ in range(40))
        return [(one, one + dt.timedelta(hours=self.random.expovariate(1 / 40))) for one in starts]

    def ticks(self) -> list[dt.datetime]:
        """Return the moments of evaluation: every half past; of those missed the newest, when the daemon is back."""
        found = set()
        moment, away = dt.datetime.combine(self.start, dt.time(0, 30), dt.UTC), list(self.down)
        while moment.date() <= self.end + 10 * DAY:
            back = moment
            while away and away[0][0] <= back:
                back = max(back, away.pop(0)[1])
            found.add(back)
            # what was missed meanwhile is evaluated once
            while moment <= back:
                moment += HOUR
        return sorted(found)

    def newest(self, market: str, now: dt.datetime) -> dt.date | None:
        there = bisect_right(self.arrivals[market], (now.timestamp(), dt.date.max))
        return self.reached[market][there - 1] if there else None

    def markets(self, now: dt.datetime) -> list[Market]:
        found = (("XNYS", STOCK), ("XXXX", CRYPTO))
        named = ((mic, cls, self.newest("crypto" if cls is CRYPTO else mic, now)) for mic, cls in found)
        return gather_markets((mic, cls, day) for mic, cls, day in named if day is not None)

    def live(self) -> None:
        running_until: dt.datetime | None = None
        for now in self.ticks():
            if running_until is not None and running_until <= now:
                failed = self.random.random() < self.share_failing
                state = RunState.FAILED if failed else RunState.DONE
                self.runs[0] = RefreshRun(self.runs[0].name, state, running_until)
                running_until = None
            early = is_afternoon(now)
            found = plan_refresh(now, self.markets(now), self.runs[:8], settle_delay=DELAY, early=early)
            if found.run_key is not None:
                assert running_until is None
                self.asked.append((now, found))
                self.runs.insert(0, RefreshRun(found.name, RunState.RUNNING))
                running_until = now + dt.timedelta(minutes=self.random.uniform(1, 90))

    def succeeded(self) -> list[tuple[dt.datetime, RefreshPlan]]:
        ends = reversed([run.state for run in self.runs])
        return [one for one, state in zip(self.asked, ends, strict=True) if state is RunState.DONE]


@pytest.mark.parametrize(("seed", "share_failing"), [(1, 0.0), (3, 0.15)])
def test_in_two_years_every_session_is_refreshed_exactly_once(seed: int, share_failing: float) -> None:
    years = Years(seed, share_failing)
    years.live()
    keys = [found.run_key for _, found in years.asked]
    assert len(set(keys)) == len(keys), "none is asked for twice"
    for market, sessions in years.sessions.items():
        covered = [(day, now) for now, found in years.succeeded() for day in (found.covers or {}).get(market, ())]
        # the first refresh says the newest session only: it covers all before
        first = sessions.index(covered[0][0])
        assert first < 3
        assert [day for day, _ in covered] == sessions[first:], "each once, in order, none left out"
        early = [now for day, now in covered if now < years.due[market, day]]
        assert {is_afternoon(now) for now in early} <= {True}, "before it is due only by the look of the afternoon"
    catch_ups = [found for _, found in years.asked if "catching up" in found.reason]
    assert len(catch_ups) > 5, "the daemon was away for days: nothing was tested"


def test_with_a_daemon_that_is_there_each_session_is_refreshed_within_the_hour_that_it_is_due_and_stored() -> None:
    years = Years(4, 0.0)
    years.down, years.end = [], D(2024, 12, 31)
    years.live()
    took = itertools.chain.from_iterable(
        ((market, day, now) for market, days in (found.covers or {}).items() for day in days[-1:])
        for now, found in years.asked
    )
    for market, day, now in took:
        newest = years.newest(market, now)
        assert newest is not None
        assert newest >= day
        # a run that goes on may be in the way of one look or two
        assert now - max(years.stored[market, day], years.due[market, day]) <= 3 * HOUR
