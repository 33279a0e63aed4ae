"""When models and forecasts are refreshed: by the calendar of each market, and by what of it is stored.

Belongs here: the rule that asks for a refresh now or says in words why not; names of refreshes. Stays out: reading what
is stored (``flows.daily_refresh``), runs and ticks (``defs``), what a refresh does, whether it trains (``retraining``).

A session is due a settle delay after its close. A refresh is for the newest due session of every market and is named by
them ("XNYS 2026-11-25, crypto 2026-11-25"), so the same one cannot be asked for twice under two names; all sessions
since the last refresh that succeeded are covered by it. Only what is stored counts: in a replay that is what the replay
has revealed, with live data what has arrived.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from streamlake_assets.errors import UsageError
from streamlake_assets.market import calendars
from streamlake_assets.market.sessions import UTC, exchange_zone
from streamlake_assets.market.types import AssetClass

CRYPTO: Final = "crypto"
"""Name of the one market of all crypto: it has no exchange's hours."""
RETRY_AFTER: Final = (dt.timedelta(minutes=10), dt.timedelta(hours=2))
"""How long after the first and the second failure a refresh is asked for again; after the third it is not."""
_LONGEST_CLOSURE: Final = dt.timedelta(days=40)
_DAY: Final = dt.timedelta(days=1)


@dataclass(frozen=True)
class Market:
    """What trades by one calendar, and its newest settled session stored."""

    exchange: str
    asset_class: AssetClass
    newest: dt.date

    @property
    def name(self) -> str:
        """The exchange's code, or ``CRYPTO``."""
        return CRYPTO if self.asset_class is AssetClass.CRYPTO else self.exchange

    def sessions(self, after: dt.date, upto: dt.date) -> list[dt.date]:
        """Return the sessions after one day up to another, included, oldest first, where the calendar can say."""
        covered = None if self.asset_class is AssetClass.CRYPTO else calendars.days_covered(self.exchange)
        first, last = after + _DAY, upto
        if covered is not None:
            first, last = max(first, covered[0]), min(last, covered[1])
        return calendars.sessions_between(self.exchange, self.asset_class, first, last)

    def following(self, day: dt.date) -> dt.date | None:
        """Return the first session after a day; None where the calendar cannot say."""
        try:
            return calendars.next_session(self.exchange, self.asset_class, day)
        except UsageError:
            return None

    def due(self, session: dt.date, settle_delay: dt.timedelta) -> dt.datetime:
        """Return when a session is due: its close, half days included, and the delay, in the market's zone."""
        return session_close(self, session).astimezone(self.zone) + settle_delay

    @property
    def zone(self) -> dt.tzinfo:
        """The zone that the market's times are told in."""
        return UTC if self.asset_class is AssetClass.CRYPTO else exchange_zone(self.exchange)


class RunState(StrEnum):
    """How a run that was asked for stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class RefreshRun:
    """A run of the daily job: the refresh it is for (empty: started by hand), how it stands, when it ended (aware)."""

    name: str
    state: RunState
    ended: dt.datetime | None = None


@dataclass(frozen=True)
class RefreshPlan:
    """The answer: ask for a run with this key now, or not (None); and why, in words.

    ``name`` is the refresh; ``covers`` the sessions it is for, by market, oldest first. Of a market that was never
    refreshed it has the newest one: all before are covered too.
    """

    run_key: str | None
    reason: str
    name: str = ""
    covers: Mapping[str, Sequence[dt.date]] | None = None


def session_close(market: Market, session: dt.date) -> dt.datetime:
    """Return when a session closes (aware); the end of its day in the market's zone where no calendar can say."""
    try:
        return calendars.session_open_close(market.exchange, session, market.asset_class)[1]
    except UsageError:
        return dt.datetime.combine(session + _DAY, dt.time(), market.zone)


def gather_markets(newest: Iterable[tuple[str, AssetClass, dt.date]]) -> list[Market]:
    """Return one market for each exchange and one for all crypto, by name, from the newest session of each part."""
    found: dict[str, Market] = {}
    for exchange, asset_class, session in newest:
        # classes of one exchange share its hours
        of = AssetClass.CRYPTO if asset_class is AssetClass.CRYPTO else AssetClass.STOCK
        market = Market(exchange, of, session)
        known = found.get(market.name)
        if known is None or known.newest < session:
            found[market.name] = market
    return [found[name] for name in sorted(found)]


def name_of(sessions: Mapping[str, dt.date]) -> str:
    """Return the name of the refresh that is for these sessions, one a market."""
    return ", ".join(f"{market} {session.isoformat()}" for market, session in sorted(sessions.items()))


def read_name(name: str) -> dict[str, dt.date]:
    """Return the sessions that a refresh is for, by market.

    Raises:
        UsageError: it is no name of a refresh.
    """
    try:
        parts = (part.rsplit(" ", 1) for part in name.split(", "))
        return {market: dt.date.fromisoformat(day) for market, day in parts}
    except ValueError as error:
        raise UsageError(f"{name!r} names no refresh: {error}") from error


def plan_refresh(
    now: dt.datetime,
    markets: Sequence[Market],
    runs: Sequence[RefreshRun],
    *,
    settle_delay: dt.timedelta,
    early: bool = False,
) -> RefreshPlan:
    """Decide whether to ask for a refresh now.

    Args:
        now: aware time.
        markets: with what is stored of each; none when nothing is.
        runs: of the daily job, the newest first.
        settle_delay: from a session's close until it is due.
        early: take every settled session that is stored, due or not, and try once more what failed too often.

    Raises:
        UsageError: a time without zone, or a run whose name is no refresh's.
    """
    if now.tzinfo is None:
        raise UsageError("a refresh is planned for a time with a zone")
    if not markets:
        return RefreshPlan(None, "no settled session is stored yet")
    if running := next((run for run in runs if run.state is RunState.RUNNING), None):
        return RefreshPlan(None, f"a daily run is in progress: {running.name or 'one that was started by hand'}")
    done = _refreshed(runs)
    reached = {market.name: _reached(market, done.get(market.name), now, settle_delay, early) for market in markets}
    new = {name: session for name, session in reached.items() if session is not None}
    if not new:
        return RefreshPlan(None, "; ".join(_waits_for(market, done, now, settle_delay) for market in markets))
    name = name_of({**done, **new})
    tries = [run for run in runs if run.name == name and run.state is not RunState.DONE]
    if (put_off := _put_off(tries, now, early)) is not None:
        return RefreshPlan(None, f"{name}: {put_off}", name)
    covers = {
        market.name: _covered(market, done.get(market.name), new[market.name])
        for market in markets
        if market.name in new
    }
    key = name if not tries else f"{name} (try {len(tries) + 1})"
    return RefreshPlan(key, _covering(covers, done), name, covers)


def _refreshed(runs: Sequence[RefreshRun]) -> dict[str, dt.date]:
    """Return the newest session of each market that a refresh which succeeded was for."""
    found: dict[str, dt.date] = {}
    for run in runs:
        if run.state is RunState.DONE and run.name:
            for market, session in read_name(run.name).items():
                found[market] = max(session, found.get(market, session))
    return found


def _reached(
    market: Market, done: dt.date | None, now: dt.datetime, settle_delay: dt.timedelta, early: bool
) -> dt.date | None:
    """Return the newest session past ``done`` that is stored and due; None where there is none."""
    if done is not None and market.newest <= done:
        return None
    recent = market.newest - _LONGEST_CLOSURE
    # of a market that was never refreshed the newest session is waited for: it brings all others with it
    sessions = market.sessions(recent, market.newest)[-1:] if done is None else market.sessions(done, market.newest)
    for session in reversed(sessions):
        if early or market.due(session, settle_delay) <= now:
            return session
    # a day that no calendar knows of: years ago, or years ahead
    unknown = not market.sessions(recent, market.newest)
    return market.newest if unknown and market.due(market.newest, settle_delay) <= now else None


def _covered(market: Market, done: dt.date | None, session: dt.date) -> list[dt.date]:
    return (market.sessions(done, session) if done is not None else []) or [session]


def _put_off(tries: Sequence[RefreshRun], now: dt.datetime, early: bool) -> str | None:
    """Say why a refresh that did not succeed is not asked for again now; None when it is."""
    if not tries:
        return None
    if tries[0].state is RunState.CANCELLED:
        return None if early else "was cancelled; the next session's refresh covers it"
    if len(tries) > len(RETRY_AFTER) and not early:
        return f"failed {len(tries)} times; the next session's refresh covers it"
    wait = RETRY_AFTER[min(len(tries), len(RETRY_AFTER)) - 1]
    again = (tries[0].ended or now) + wait
    return None if again <= now else f"failed, and is asked for again from {_clock(again.astimezone(UTC))} on"


def _covering(covers: Mapping[str, Sequence[dt.date]], done: Mapping[str, dt.date]) -> str:
    parts = []
    for market, sessions in sorted(covers.items()):
        if market not in done:
            parts.append(f"{market}, for the first time, up to {sessions[-1]}")
        elif len(sessions) == 1:
            parts.append(f"{market} {sessions[0]}")
        else:
            parts.append(f"{market}, catching up {len(sessions)} sessions: {sessions[0]} to {sessions[-1]}")
    return "; ".join(parts)


def _waits_for(market: Market, done: Mapping[str, dt.date], now: dt.datetime, settle_delay: dt.timedelta) -> str:
    """Say of one market what a refresh waits for."""
    last = done.get(market.name)
    said = f"{market.name}: " + ("nothing refreshed yet" if last is None else f"already refreshed to {last}")
    today = now.astimezone(market.zone).date()
    known = market.newest - _DAY if last is None else last
    coming = market.following(known)
    if coming is None:
        return f"{said}; its calendar knows no session after {known}"
    due = market.due(coming, settle_delay)
    if coming > today:
        closed = "" if last is not None and today <= last else f"; {today} is {_why_closed(market, today)}"
        return f"{said}{closed}; {coming} is due {_clock(due)}"
    if due > now:
        return f"{said}; {coming} has not settled, due {_clock(due)}"
    return f"{said}; no new data since: {coming} was due {_clock(due)}"


def _why_closed(market: Market, day: dt.date) -> str:
    return f"a {day:%A}" if day.weekday() >= 5 else f"a holiday of {market.name}"


def _clock(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M %Z}"
