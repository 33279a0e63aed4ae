"""Anomalies in the raw tables, and how many of the faults that were planted are among them.

Belongs here: reading series and calendars for ``market.anomalies``, counting what became of messages, the comparison
with a manifest. Stays out: what an anomaly is (``market.anomalies``), planting (``sources.planted_faults``).
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa

from streamlake_assets.errors import UsageError
from streamlake_assets.market import anomalies
from streamlake_assets.market.anomalies import SeriesBars
from streamlake_assets.market.calendars import session_open_close, sessions_between
from streamlake_assets.market.sessions import UTC, daily_bar_time, from_microseconds, to_microseconds
from streamlake_assets.market.types import Interval
from streamlake_assets.stores import bar_reader, schema
from streamlake_assets.stores.bar_reader import KnownInstrument

Key = tuple[str, str, dt.datetime]
"""Symbol, interval, bar time."""
MOST_PAUSE: Final = dt.timedelta(days=60)
"""Longest pause between two sessions of a series within which missing bars are looked for."""
MOST_LATE_US: Final = 7 * 24 * 3600 * 1_000_000
"""Microseconds of bar time; what comes later than a week is no late bar but history."""
_AHEAD: Final = "event_time_ahead"


class Anomaly(NamedTuple):
    """One bar that looks wrong, or is not there."""

    kind: str
    symbol: str
    exchange: str
    interval: str
    bar_time: dt.datetime
    detail: str


class Detected(NamedTuple):
    """How many bars were looked at, and what is wrong with them."""

    bars: int
    anomalies: list[Anomaly]


class Refused(NamedTuple):
    """Messages that made no bar: those that were there already, and dead letters by reason and key."""

    repeated: int
    dead: Counter[tuple[str, str]]


class Fault(msgspec.Struct, frozen=True):
    """One line of a manifest of planted faults."""

    fault: str
    symbol: str
    exchange: str
    interval: str
    bar_time: dt.datetime
    detail: str


class Score(NamedTuple):
    """How well one class of fault is found."""

    fault: str
    planted: int
    found: int
    false_alarms: int
    by_detail: dict[str, tuple[int, int]]
    """Detail -> (planted, found)."""

    @property
    def recall(self) -> float | None:
        """Share of the planted faults that is found; None when there are none."""
        return self.found / self.planted if self.planted else None


def detect(engine: sa.Engine, sessions: int | None = None) -> Detected:
    """Look for anomalies in the bars in force.

    Args:
        engine: of a user that may read.
        sessions: only the newest so many sessions of each series; None: all.

    Raises:
        TryLaterError: the database is not available.
    """
    found: list[Anomaly] = []
    count = 0
    with bar_reader.snapshot(engine) as connection:
        for known in bar_reader.instruments(connection).values():
            factors = {
                day.toordinal(): float(factor) for day, factor in bar_reader.factors(connection, known.id).items()
            }
            for interval, interval_id in bar_reader.interval_ids(connection).items():
                bars = _read(connection, known.id, interval_id, sessions)
                if len(bars.start):
                    count += len(bars.start)
                    found += _of_series(known, interval, bars, factors)
    return Detected(count, found)


def read_refused(engine: sa.Engine) -> Refused:
    """Count messages of known bars, and dead letters.

    Raises:
        TryLaterError: the database is not available.
    """
    with bar_reader.snapshot(engine) as connection:
        repeated = int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(_BATCH.same), 0))).scalar_one())
        letters = connection.execute(
            sa.select(_DEAD.reason, _DEAD.message_key, sa.func.count()).group_by(_DEAD.reason, _DEAD.message_key)
        )
        dead = Counter({(row[0], (row[1] or b"").decode(errors="replace")): int(row[2]) for row in letters})
    return Refused(repeated, dead)


_BATCH: Final = schema.ingest_batches.c
_DEAD: Final = schema.dead_letters.c


def read_manifest(path: Path) -> list[Fault]:
    """Read a manifest of planted faults.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return [msgspec.json.decode(line, type=Fault) for line in path.read_bytes().splitlines() if line.strip()]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is no manifest of planted faults: {error}") from error


def score(found: Detected, refused: Refused, planted: Sequence[Fault]) -> list[Score]:
    """Compare what was found with what was planted, class by class; the tables must hold this market alone.

    A bar that never arrived in a usable form is a gap whatever kept it away: such gaps are no false alarms.
    """
    by_class: dict[str, list[Fault]] = defaultdict(list)
    for fault in planted:
        by_class[fault.fault].append(fault)
    keys: dict[str, set[Key]] = defaultdict(set)
    for one in found.anomalies:
        keys[one.kind].add(_key(one))
    known = {name: {_key(one) for one in faults} for name, faults in by_class.items()}
    behind = keys["late"] | keys["out_of_order"]
    kept_away = known.get("bad_fields", set()) | known.get("clock_skew", set())
    scores = [
        _by_key("gaps", by_class["gaps"], keys["gaps"], keys["gaps"] - known.get("gaps", set()) - kept_away),
        _by_key("stale", by_class["stale"], keys["stale"], keys["stale"] - known.get("stale", set())),
        _by_key("jumps", by_class["jumps"], keys["jumps"], keys["jumps"] - known.get("jumps", set())),
    ]
    misplaced = known.get("late", set()) | known.get("out_of_order", set())
    scores += [_by_key(name, by_class[name], behind, keys[name] - misplaced) for name in ("out_of_order", "late")]
    again = len(by_class["duplicates"])
    hit = min(again, refused.repeated)
    scores.append(Score("duplicates", again, hit, refused.repeated - hit, {}))
    ahead = Counter({key: count for (reason, key), count in refused.dead.items() if reason == _AHEAD})
    others: Counter[str] = Counter()
    for (reason, key), count in refused.dead.items():
        if reason != _AHEAD:
            others[key] += count
    scores.append(_by_symbol("bad_fields", by_class["bad_fields"], others))
    scores.append(_by_symbol("clock_skew", by_class["clock_skew"], ahead))
    return scores


def _key(one: Anomaly | Fault) -> Key:
    return one.symbol, one.interval, one.bar_time


def _by_key(name: str, planted: Sequence[Fault], found: set[Key], false: set[Key]) -> Score:
    details: dict[str, tuple[int, int]] = {}
    for one in planted:
        there, hit = details.get(one.detail, (0, 0))
        details[one.detail] = (there + 1, hit + (_key(one) in found))
    return Score(name, len(planted), sum(hit for _, hit in details.values()), len(false), details)


def _by_symbol(name: str, planted: Sequence[Fault], dead: Counter[str]) -> Score:
    # a message whose time is the bad field cannot say which bar it was
    wanted = Counter(one.symbol for one in planted)
    hit = sum((wanted & dead).values())
    return Score(name, len(planted), hit, sum((dead - wanted).values()), {})


def _read(connection: sa.Connection, instrument_id: int, interval_id: int, sessions: int | None) -> SeriesBars:
    b = schema.bars
    where = [b.c.instrument_id == instrument_id, b.c.interval_id == interval_id]
    if sessions is not None:
        first = bar_reader.newest_session(connection, instrument_id, interval_id, sessions)
        if first is not None:
            # the key finds the range by time; a session's bars start at most two days from its date in UTC
            where += [b.c.bar_time >= dt.datetime.combine(first, dt.time()) - dt.timedelta(days=2)]
            where += [b.c.session_date >= first]
    query = (
        sa.select(
            *(b.c.bar_time, b.c.session_date, b.c.open, b.c.high, b.c.low, b.c.close, b.c.volume),
            *(b.c.batch_id, b.c.kafka_offset),
        )
        .where(*where)
        .order_by(b.c.bar_time)
    )
    rows = connection.execute(query).all()
    if not rows:
        none, nothing = np.zeros(0, dtype=np.int64), np.zeros(0)
        return SeriesBars(none, none, nothing, nothing, nothing, nothing, nothing, none)
    times, days, opens, highs, lows, closes, volumes, batches, offsets = zip(*rows, strict=True)
    # a bar arrived with its first version; batches first: offsets begin anew when a topic is made anew
    came = dict(zip(times, zip(batches, offsets, strict=True), strict=True))
    r = schema.bar_revisions
    kept = sa.select(r.c.bar_time, r.c.batch_id, r.c.kafka_offset).where(
        r.c.instrument_id == instrument_id, r.c.interval_id == interval_id, r.c.bar_time >= times[0]
    )
    for time, batch, offset in connection.execute(kept):
        if time in came:
            came[time] = min(came[time], (batch, offset))
    arrival = np.empty(len(rows), dtype=np.int64)
    arrival[sorted(range(len(rows)), key=lambda place: came[times[place]])] = np.arange(len(rows))
    return SeriesBars(
        start=np.array([to_microseconds(one.replace(tzinfo=UTC)) for one in times], dtype=np.int64),
        session=np.array([one.toordinal() for one in days], dtype=np.int64),
        open=np.array(opens, dtype=np.float64),
        high=np.array(highs, dtype=np.float64),
        low=np.array(lows, dtype=np.float64),
        close=np.array(closes, dtype=np.float64),
        volume=np.array([np.nan if value is None else float(value) for value in volumes]),
        arrival=arrival,
    )


def _of_series(
    known: KnownInstrument, interval: Interval, bars: SeriesBars, factors: Mapping[int, float]
) -> Iterator[Anomaly]:
    def anomaly(kind: str, start: int, detail: str) -> Anomaly:
        instrument = known.instrument
        moment = from_microseconds(start)
        return Anomaly(kind, instrument.symbol, instrument.exchange, interval.value, moment, detail)

    for start in anomalies.missing(bars.start, _expected(known, interval, bars)).tolist():
        yield anomaly("gaps", start, "missing")
    for place in anomalies.repeats(bars).tolist():
        yield anomaly("stale", int(bars.start[place]), "repeats the bar before")
    for place in anomalies.jumps(bars, factors).tolist():
        change = bars.close[place] / bars.close[place - 1] - 1
        yield anomaly("jumps", int(bars.start[place]), f"{change:+.1%} without a corporate action")
    behind = anomalies.late(bars)
    for place, by in zip(behind.places.tolist(), behind.behind.tolist(), strict=True):
        if by > MOST_LATE_US:
            # a backfill: history that was fetched after what is newer
            continue
        intervals = by / 1e6 / interval.seconds
        kind = "out_of_order" if intervals <= 1 else "late"
        yield anomaly(kind, int(bars.start[place]), f"after a bar that is {intervals:g} intervals later")


def _expected(known: KnownInstrument, interval: Interval, bars: SeriesBars) -> anomalies.Ints:
    """Return the times of all bars of the calendar from the first session that is there to the last."""
    exchange = known.instrument.exchange
    present = [dt.date.fromordinal(day) for day in np.unique(bars.session).tolist()]
    # a bar that lies years from its neighbours has a wrong time: the years between are not missing
    parts = [[present[0]]]
    for day in present[1:]:
        if day - parts[-1][-1] > MOST_PAUSE:
            parts.append([])
        parts[-1].append(day)
    days: list[dt.date] = []
    for part in parts:
        with suppress(UsageError):
            # outside its calendar nobody can say what is missing
            days += sessions_between(exchange, known.asset_class, part[0], part[-1])
    if interval is Interval.D1:
        return np.array([to_microseconds(daily_bar_time(day, exchange)) for day in days], dtype=np.int64)
    step = interval.seconds * 1_000_000
    times: list[int] = []
    for day in days:
        opens, closes = (to_microseconds(one) for one in session_open_close(exchange, day, known.asset_class))
        times += range(opens, closes - step + 1, step)
    # the first session may begin before what was read, and the last may be on
    oldest, newest = int(bars.start[0]), int(bars.start[-1])
    return np.array([time for time in times if oldest <= time <= newest], dtype=np.int64)


def as_record(one: Score, bars: int) -> dict[str, Any]:
    """Return a score as plain data; the rate of false alarms is one of all bars."""
    return {
        "fault": one.fault,
        "planted": one.planted,
        "found": one.found,
        "recall": None if one.recall is None else round(one.recall, 4),
        "false_alarms": one.false_alarms,
        "false_alarm_rate": one.false_alarms / bars if bars else 0.0,
        "by_detail": {name: {"planted": there, "found": hit} for name, (there, hit) in one.by_detail.items()},
    }
