"""A slice made ready for its transaction: all that can be done without the database, done by the decoding thread.

Belongs here: grouping by series, digests, the rows' text without ids. Stays out: ids, SQL statements, and whether a
bar is new (``bar_store``): what is made here is right whatever the tables hold.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import lt
from typing import NamedTuple

from streamlake_assets.errors import IntegrityError
from streamlake_assets.market.messages import Arrival, DeadLetter, Slice, StreamIdentity
from streamlake_assets.market.sessions import session_date
from streamlake_assets.market.types import Bar, CorporateAction, Instrument, Status
from streamlake_assets.market.versions import Version, action_digest, bar_digest
from streamlake_assets.stores.dimensions import UNSEEN_CLASS, Description
from streamlake_assets.stores.fact_tables import KIND_NUMBER, first_of_month
from streamlake_assets.stores.literals import Literal, bar_tail, literal

_session = lru_cache(maxsize=16_384)(session_date)
_known_from = lru_cache(maxsize=1_024)(literal)


class ReadyRow(NamedTuple):
    """One version of one fact without its ids."""

    settled: bool
    as_of: dt.datetime
    digest: bytes
    month: dt.date
    """First day of the month of its session."""
    tail: str

    def version(self, rank: int) -> Version:
        """Return its place in the order, given the rank of its source."""
        return Version(rank, self.settled, self.as_of, self.digest)


class BarSeries:
    """Bars of one instrument and interval in one slice, in the order of their offsets.

    ``rising``: of one source, each later than the one before. Such a run is new as a whole when its first bar is later
    than all that is stored of the series, and needs no look-up.
    """

    __slots__ = ("bars", "digests", "first", "instrument", "interval", "last", "months", "rising", "source", "tails")

    def __init__(self, bars: Sequence[Bar], arrivals: Sequence[Arrival]) -> None:
        bar = bars[0]
        self.instrument = bar.instrument
        self.interval = bar.interval.value
        self.source = source = bar.source
        self.bars = bars
        starts = [one.bar_time for one in bars]
        self.first, self.last = starts[0], max(starts)
        # strictly: two versions of one bar are not both new
        self.rising = all(map(lt, starts, starts[1:])) and all(one.source == source for one in bars)
        exchange = bar.exchange
        sessions = [_session(start, exchange) for start in starts]
        self.months = {first_of_month(session) for session in set(sessions)}
        self.digests = list(map(bar_digest, bars))
        self.tails = [
            bar_tail(one, session, _known_from(arrival.broker_time), digest, arrival.offset)
            for one, session, digest, arrival in zip(bars, sessions, self.digests, arrivals, strict=True)
        ]

    def rows(self) -> Iterator[ReadyRow]:
        """Yield the rows with their versions; only a look-up needs them."""
        for bar, digest, tail in zip(self.bars, self.digests, self.tails, strict=True):
            month = first_of_month(_session(bar.bar_time, bar.exchange))
            yield ReadyRow(bar.status is Status.SETTLED, bar.as_of, digest, month, tail)


class ReadySlice(NamedTuple):
    """Consecutive messages of one partition, ready to be written; ``stop`` as in ``Slice``."""

    stream: StreamIdentity
    partition: int
    first_offset: int
    next_offset: int
    messages: int
    series: Sequence[BarSeries]
    actions: Sequence[tuple[CorporateAction, ReadyRow]]
    sources: set[str]
    classes: Mapping[Instrument, str]
    """Asset class of every instrument that is named: of a bar of it, or one that any bar replaces."""
    described: Mapping[Instrument, Description]
    """The greatest description that its bars carry, of each instrument that has one."""
    plain_classes: Mapping[Instrument, str]
    """The first class by name of the bars without a description."""
    dead: Sequence[DeadLetter]
    stop: str


def prepare(part: Slice) -> ReadySlice:
    """Make a slice ready; needs no database, and any thread may do it.

    Raises:
        IntegrityError: a fact that is neither a bar nor a corporate action.
    """
    groups: dict[tuple[str, str, str], tuple[list[Bar], list[Arrival]]] = {}
    actions = []
    for arrival in part.arrivals:
        fact = arrival.fact
        if type(fact) is Bar:
            key = (fact.symbol, fact.exchange, fact.interval)
            if (group := groups.get(key)) is None:
                group = groups[key] = ([], [])
            group[0].append(fact)
            group[1].append(arrival)
        else:
            actions.append(_ready_action(arrival))
    series = [BarSeries(bars, arrivals) for bars, arrivals in groups.values()]
    labels = (bar for run in series for bar in _said(run.bars))
    sources = {action.source for action, _ in actions}.union(*({bar.source for bar in run.bars} for run in series))
    classes = {action.instrument: UNSEEN_CLASS.value for action, _ in actions}
    classes.update({run.instrument: run.bars[-1].asset_class.value for run in series})
    described, plain = _descriptions(labels)
    messages = len(part.arrivals) + len(part.dead)
    return ReadySlice(
        *(part.stream, part.partition, part.first_offset, part.next_offset, messages, series, actions),
        *(sources, classes, described, plain, part.dead, part.stop),
    )


def _ready_action(arrival: Arrival) -> tuple[CorporateAction, ReadyRow]:
    action = arrival.fact
    if not isinstance(action, CorporateAction):
        raise IntegrityError(f"a {type(action).__name__} arrived as a fact")
    digest = action_digest(action)
    kind = KIND_NUMBER[action.kind.value]
    times = (action.as_of, action.event_time, arrival.broker_time)
    values: tuple[Literal, ...] = (action.ex_date, kind, action.factor, *times, digest, arrival.offset)
    tail = ",".join(map(literal, values))
    return action, ReadyRow(True, action.as_of, digest, first_of_month(action.ex_date), tail)


def _said(bars: Iterable[Bar]) -> Iterable[Bar]:
    """Return of bars that say the same of their instrument only the one that was stated last."""
    last: dict[tuple[str, str | None, str | None, str | None], Bar] = {}
    for bar in bars:
        label = (bar.asset_class, bar.name, bar.sector, bar.currency)
        if (said := last.get(label)) is None or bar.as_of > said.as_of:
            last[label] = bar
    return last.values()


def _descriptions(bars: Iterable[Bar]) -> tuple[dict[Instrument, Description], dict[Instrument, str]]:
    described: dict[Instrument, Description] = {}
    classes: dict[Instrument, str] = {}
    for bar in bars:
        instrument = bar.instrument
        if not (bar.name or bar.sector or bar.currency):
            classes[instrument] = min(bar.asset_class.value, classes.get(instrument, bar.asset_class.value))
            continue
        said = Description.of(bar)
        if instrument not in described or said > described[instrument]:
            described[instrument] = said
    return described, classes
