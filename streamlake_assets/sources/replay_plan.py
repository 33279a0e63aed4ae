"""What a replay publishes and in which order: history at once, then session by session.

Belongs here: the split of a data set, the order of records. Stays out: pace, wire and wall-clock time (the publisher
sets ``event_time``), forecasts.

A live session is published as it would have come: its corporate actions before the market opens, the 5-minute bars of
all instruments as they end, one provisional daily bar of each instrument after half of its bars, the settled daily bars
at the end.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from streamlake_assets.errors import UsageError
from streamlake_assets.market.calendars import session_open_close
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import Bar, CorporateAction, Interval
from streamlake_assets.sources.bridge import bridge_session, provisional_daily

Record: TypeAlias = Bar | CorporateAction
HELD_BACK: int = 60
"""Sessions that are kept for the live part."""
BRIDGED: int = 60
"""Sessions at the end of the history that have 5-minute bars too."""


@dataclass(frozen=True, slots=True)
class SessionStep:
    """One session: its corporate actions and its real, settled daily bars by symbol; the rest is made of them."""

    session: dt.date
    actions: tuple[CorporateAction, ...]
    daily: tuple[Bar, ...]
    seed: int = 0

    def intraday(self) -> list[Bar]:
        """Make the 5-minute bars of all instruments, by their end and symbol.

        Raises:
            UsageError: the exchange does not trade on this day.
        """
        bars = [bar for made in self._by_instrument() for bar in made]
        bars.sort(key=lambda bar: (bar.as_of, bar.symbol, bar.exchange))
        return bars

    def records(self) -> Iterator[Record]:
        """Yield everything of this session in the order of publication.

        Raises:
            UsageError: the exchange does not trade on this day.
        """
        yield from self.actions
        on_the_way: list[tuple[dt.datetime, str, str, int, Bar]] = []
        for made in self._by_instrument():
            half = len(made) // 2
            numbered = [*((2 * index, bar) for index, bar in enumerate(made))]
            if half:
                numbered.append((2 * half - 1, provisional_daily(made[:half])))
            on_the_way.extend((bar.as_of, bar.symbol, bar.exchange, order, bar) for order, bar in numbered)
        on_the_way.sort(key=lambda item: item[:4])
        for *_, bar in on_the_way:
            yield bar
        yield from self.daily

    def _by_instrument(self) -> Iterator[list[Bar]]:
        for bar in self.daily:
            opens, closes = session_open_close(bar.exchange, self.session, bar.asset_class)
            yield bridge_session(bar, opens, closes, seed=self.seed)


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """A whole replay.

    ``actions`` and ``daily`` are the history; the last ``bridged`` sessions of it have 5-minute bars too; ``live`` are
    the held-back sessions, oldest first.
    """

    actions: tuple[CorporateAction, ...]
    daily: tuple[Bar, ...]
    bridged: tuple[SessionStep, ...]
    live: tuple[SessionStep, ...]

    def history(self) -> Iterator[Record]:
        """Yield the history in the order of publication: corporate actions, daily bars, 5-minute bars.

        Raises:
            UsageError: an exchange does not trade on a bridged day.
        """
        yield from self.actions
        yield from self.daily
        for step in self.bridged:
            yield from step.intraday()


def split_history(bars: Sequence[Bar], held_back: int = HELD_BACK) -> tuple[list[Bar], list[tuple[dt.date, list[Bar]]]]:
    """Split daily bars into history and held-back sessions.

    Args:
        bars: settled daily bars of any number of instruments.
        held_back: number of sessions at the end to hold back.

    Returns:
        The bars of the history by (session, symbol), and the held-back sessions, oldest first, with their bars.

    Raises:
        UsageError: a bar is not daily, or no session would be left for the history.
    """
    sessions = _by_session(bars)
    if not 0 <= held_back < len(sessions):
        raise UsageError(f"cannot hold back {held_back} of {len(sessions)} sessions: at least one is needed as history")
    known = len(sessions) - held_back
    return [bar for _, group in sessions[:known] for bar in group], sessions[known:]


def plan_replay(
    bars: Sequence[Bar],
    actions: Sequence[CorporateAction],
    *,
    held_back: int = HELD_BACK,
    bridged: int = BRIDGED,
    seed: int = 0,
) -> ReplayPlan:
    """Plan the replay of daily bars and their corporate actions.

    Args:
        bars: settled daily bars.
        actions: their corporate actions; one whose ex-date is after the history goes to the first session on or after
            it, one after the last session is not published.
        held_back: sessions of the live part.
        bridged: sessions at the end of the history that get 5-minute bars.
        seed: of the made paths.

    Raises:
        UsageError: a bar is not daily, or no session would be left for the history.
    """
    history, live = split_history(bars, held_back)
    sessions = _by_session(history)
    pending = sorted(actions, key=lambda action: (action.ex_date, action.symbol, action.exchange))
    last_known = sessions[-1][0]
    with_paths = max(0, len(sessions) - bridged)
    steps = []
    earlier = last_known
    for session, group in live:
        due = tuple(action for action in pending if earlier < action.ex_date <= session)
        steps.append(SessionStep(session, due, tuple(group), seed))
        earlier = session
    return ReplayPlan(
        actions=tuple(action for action in pending if action.ex_date <= last_known),
        daily=tuple(history),
        bridged=tuple(SessionStep(session, (), tuple(group), seed) for session, group in sessions[with_paths:]),
        live=tuple(steps),
    )


def _by_session(bars: Sequence[Bar]) -> list[tuple[dt.date, list[Bar]]]:
    groups: dict[dt.date, list[Bar]] = {}
    for bar in bars:
        if bar.interval is not Interval.D1:
            raise UsageError(f"a replay by sessions takes daily bars, not {bar.interval} ({bar.instrument})")
        groups.setdefault(session_date(bar.bar_time, bar.exchange), []).append(bar)
    return [
        (session, sorted(group, key=lambda bar: (bar.symbol, bar.exchange)))
        for session, group in sorted(groups.items(), key=lambda item: item[0])
    ]
