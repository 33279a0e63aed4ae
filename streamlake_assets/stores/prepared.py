"""A slice made ready for its transaction: all that can be done without the database, done by the decoding thread.

Belongs here: grouping by series, digests, the rows' text without ids. Stays out: ids, SQL statements, and whether a
bar is new (``bar_store``): what is made here is right whatever the tables hold.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
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

    def __init__(self, bar: Bar) -> None:
        self.instrument = bar.instrument
        self.interval = bar.interval.value
        self.source = bar.source
        self.first = self.last = bar.bar_time
        self.rising = True
        self.bars: list[Bar] = []
        self.digests: list[bytes] = []
        self.tails: list[str] = []
        self.months: set[dt.date] = set()

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
    series: dict[tuple[str, str, str], BarSeries] = {}
    actions = []
    sources: set[str] = set()
    labels: dict[tuple[BarSeries, str, str | None, str | None, str | None], Bar] = {}
    known_from, known_text = None, ""
    for arrival in part.arrivals:
        fact = arrival.fact
        if type(fact) is not Bar:
            actions.append(_ready_action(arrival))
            sources.add(fact.source)
            continue
        if arrival.broker_time is not known_from:
            known_from = arrival.broker_time
            known_text = literal(known_from)
        key = (fact.symbol, fact.exchange, fact.interval)
        run = series.get(key)
        if run is None:
            run = series[key] = BarSeries(fact)
        elif fact.bar_time > run.last and fact.source == run.source:
            run.last = fact.bar_time
        else:
            run.rising = False
            run.last = max(run.last, fact.bar_time)
        sources.add(fact.source)
        session = _session(fact.bar_time, fact.exchange)
        digest = bar_digest(fact)
        run.bars.append(fact)
        run.digests.append(digest)
        run.tails.append(bar_tail(fact, session, known_text, digest, arrival.offset))
        run.months.add(first_of_month(session))
        label = (run, fact.asset_class, fact.name, fact.sector, fact.currency)
        said = labels.get(label)
        if said is None or fact.as_of > said.as_of:
            labels[label] = fact
    classes = {action.instrument: UNSEEN_CLASS.value for action, _ in actions}
    classes.update({run.instrument: run.bars[-1].asset_class.value for run in series.values()})
    described, plain = _descriptions(labels.values())
    messages = len(part.arrivals) + len(part.dead)
    return ReadySlice(
        *(part.stream, part.partition, part.first_offset, part.next_offset, messages, list(series.values()), actions),
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
