"""What pages say about the state of things: servers up or down, market time, lag; facts in, texts out.

Belongs here: the record of checks, and the sentences of header and badges. Stays out: making the checks
(``data_store``), markup (``markup``).
"""

import datetime as dt
from typing import Any, Final

import msgspec

from streamlake_assets.market.clock import MarketTime, ReplayState

KAFKA: Final = "Kafka"
MYSQL: Final = "MySQL"
DOCUMENTS: Final = "document store"
SERVERS: Final = (KAFKA, MYSQL, DOCUMENTS)
PATIENCE_S: Final = 3.0
"""A check that takes longer counts as no answer, long before it gives up by itself."""
STALE_AFTER: Final = dt.timedelta(minutes=5)
BEAT_PATIENCE_S: Final = 30.0
"""A running replay that was not heard of for longer, and for longer than three of its sessions, runs no more."""
LAST_BARS_S: Final = 5.0
"""Bars that arrive this soon after a replay said that it is done or paused are still its own."""

Heartbeat = tuple[dt.datetime, dict[str, Any]]
"""When a process last said that it is alive, and the state it wrote."""


class Checks:
    """Whether each server answers; times are seconds of a monotonic clock. ``data_store`` locks."""

    def __init__(self) -> None:
        self._up: dict[str, bool] = {}
        self._asked_at: dict[str, float] = {}

    def asked(self, server: str, now_s: float) -> None:
        """Note that a check of a server has begun."""
        self._asked_at.setdefault(server, now_s)

    def answered(self, server: str, up: bool) -> bool:
        """Note the result of a check; return whether it differs from the last one."""
        changed = self._up.get(server) is not up
        self._up[server] = up
        self._asked_at.pop(server, None)
        return changed

    def is_up(self, server: str) -> bool:
        """Tell whether the last finished check of a server succeeded."""
        return self._up.get(server, False)

    def down(self, now_s: float) -> tuple[str, ...]:
        """Return the servers that do not answer; one never asked is not among them."""
        slow = {server for server, asked_at in self._asked_at.items() if now_s - asked_at > PATIENCE_S}
        return tuple(server for server in SERVERS if server in slow or self._up.get(server) is False)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What the header shows.

    ``lag``: messages in the stream that the tables do not have yet; None: unknown. ``rate``: messages a second that
    arrived lately. ``unseen_alerts``: what is not well and nobody has acknowledged.
    """

    market: MarketTime
    down: tuple[str, ...] = ()
    lag: int | None = None
    rate: float = 0.0
    unseen_alerts: int = 0


class Badge(msgspec.Struct, frozen=True):
    """A short text with a colour name of the theme: ``ok``, ``note``, ``warn`` or ``bad``."""

    tone: str
    text: str


def header_badges(status: Status, now: dt.datetime) -> list[Badge]:
    """Return what the header shows, in order; ``now`` is aware."""
    late = status.market.staleness(now, STALE_AFTER)
    # data that are late are not live
    market = status.market.date_text if late.is_stale else status.market.text
    badges = [Badge("note", market)]
    if late.age_seconds is not None:
        badges.append(Badge("note", f"last arrival {age_text(late.age_seconds)} ago"))
    if status.lag is not None:
        badges.append(Badge("note", f"lag {status.lag:,}"))
    if status.rate > 0:
        badges.append(Badge("note", f"{status.rate:,.1f} rows/s"))
    if status.unseen_alerts:
        alerts = "1 alert" if status.unseen_alerts == 1 else f"{status.unseen_alerts:,} alerts"
        badges.append(Badge("bad", f"{alerts} unseen: see Quality"))
    badges.extend(Badge("bad", f"{server} does not answer") for server in status.down)
    if late.is_stale and late.age_seconds is not None:
        badges.append(Badge("warn", f"stale: nothing for {age_text(late.age_seconds)}"))
    if not status.down and not late.is_stale:
        badges.append(Badge("ok", "all servers answer"))
    return badges


def age_text(seconds: float) -> str:
    """Return an age in its largest fitting unit, seconds below two minutes."""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def replay_of(state: dict[str, Any] | None) -> tuple[ReplayState, float | None]:
    """Read the state and pace (sessions per second) that a replay wrote with its heartbeat; none: live data."""
    if state is None:
        return ReplayState.LIVE, None
    try:
        replay = ReplayState(str(state.get("state")))
    except ValueError:
        return ReplayState.LIVE, None
    pace = state.get("sessions_per_second")
    return replay, float(pace) if isinstance(pace, int | float) and pace > 0 else None


def replay_at(
    now: dt.datetime, heartbeat: Heartbeat | None, last_arrival: dt.datetime | None
) -> tuple[ReplayState, float | None]:
    """Judge what a replay does now by its last heartbeat, which stays for ever: a replay that died cannot take it back.

    Args:
        now: aware current time.
        heartbeat: of the replay; None: there never was one.
        last_arrival: when the newest bar arrived, aware; None: not known.

    Returns:
        State and pace. A replay that runs but is not heard of any more is paused. One that owes nothing (finished,
        paused) has its say until a bar arrives that is not its own: from then on data are live.
    """
    if heartbeat is None:
        return ReplayState.LIVE, None
    beat_at, state = heartbeat
    replay, pace = replay_of(state)
    own_s = LAST_BARS_S
    if replay is ReplayState.RUNNING:
        # seconds, not timedeltas: the slowest pace would overflow them
        own_s = BEAT_PATIENCE_S if pace is None else max(BEAT_PATIENCE_S, 3 / pace)
        if (now - beat_at).total_seconds() <= own_s:
            return replay, pace
        replay = ReplayState.PAUSED
    if last_arrival is not None and (last_arrival - beat_at).total_seconds() > own_s:
        return ReplayState.LIVE, None
    return replay, None
