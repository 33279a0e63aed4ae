"""What was in force at a moment: equal to the versions seen by then, however they came."""

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.market.messages import Arrival, Slice
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import ActionKind, Bar, CorporateAction, Instrument, Interval, Status
from streamlake_assets.market.versions import Version, action_version, bar_version
from streamlake_assets.stores import schema
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.history import actions_as_of, bars_as_of
from streamlake_assets_tests.bars import BARS_STREAM, NOW, SESSION, action, bar
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
MINUTE = dt.timedelta(minutes=1)
RANKS = {"bridge": 10, "made": 20, "bokeh_sampledata": 50}
LAST = NOW + dt.timedelta(days=1)

Key = tuple[Any, ...]


def key_of(fact: Bar | CorporateAction) -> Key:
    if isinstance(fact, Bar):
        return (fact.symbol, fact.interval.value, fact.bar_time)
    return (fact.symbol, fact.ex_date, fact.kind.value)


def version_of(fact: Bar | CorporateAction) -> Version:
    rank = RANKS[fact.source]
    return bar_version(fact, rank) if isinstance(fact, Bar) else action_version(fact, rank)


def in_force(arrivals: Sequence[Arrival], t: dt.datetime) -> dict[Key, tuple[bytes, dt.datetime]]:
    """The oracle: of each key the greatest version whose first message the broker had taken by then."""
    known: dict[Key, dict[Version, dt.datetime]] = {}
    for arrival in arrivals:
        known.setdefault(key_of(arrival.fact), {}).setdefault(version_of(arrival.fact), arrival.broker_time)
    found = {}
    for key, versions in known.items():
        by_then = [version for version, since in versions.items() if since <= t]
        if by_then:
            found[key] = (max(by_then).digest, versions[max(by_then)])
    return found


def history(order: random.Random) -> list[Arrival]:
    """Versions of a few bars and actions, some of them twice, in any order, at times that do not follow it."""
    keys: list[dict[str, Any]] = [
        {"symbol": "AAPL"}, {"symbol": "MSFT"}, {"symbol": "AAPL", "session": SESSION + dt.timedelta(days=1)},
        {"symbol": "AAPL", "interval": Interval.M1, "bar_time": NOW}, {"symbol": "QUIET"},
    ]  # fmt: skip
    facts: list[Bar | CorporateAction] = []
    for _ in range(30):
        key = order.choice(keys[:4])
        stated = {"source": order.choice(sorted(RANKS)), "as_of": NOW - order.randrange(3) * MINUTE}
        facts.append(bar(**key, **stated, price=str(order.randrange(10, 13)), status=order.choice(list(Status))))
        facts.append(action(**stated, kind=order.choice(list(ActionKind)), factor=Decimal(order.randrange(1, 4)) / 4))
    facts += [*order.sample(facts, 20), bar(**keys[4])]
    order.shuffle(facts)
    return [Arrival(n, NOW + order.randrange(12) * MINUTE, fact) for n, fact in enumerate(facts)]


def store(database: Database, arrivals: Sequence[Arrival], order: random.Random) -> None:
    ends = sorted({*order.sample(range(1, len(arrivals)), 6), len(arrivals)})
    for first, end in zip([0, *ends], ends, strict=False):
        part = Slice(BARS_STREAM, 0, first, end, arrivals[first:end], [])
        BarStore(database.writer, "test").ingest([part])


def read(database: Database, t: dt.datetime, **only: Any) -> dict[Key, tuple[bytes, dt.datetime]]:
    with database.admin.connect() as connection:
        symbols = dict(connection.execute(sa.select(schema.instruments.c.id, schema.instruments.c.symbol)).all())
        intervals = dict(connection.execute(sa.select(schema.bar_intervals.c.id, schema.bar_intervals.c.name)).all())
    found: dict[Key, tuple[bytes, dt.datetime]] = {}
    places = []
    with snapshot(database.writer) as connection:
        for row in bars_as_of(connection, t, **only):
            key = (symbols[row.instrument_id], intervals[row.interval_id], row.bar_time.replace(tzinfo=UTC))
            assert key not in found
            found[key] = (row.version_hash, row.known_from.replace(tzinfo=UTC))
            places.append((row.instrument_id, row.interval_id, row.bar_time))
        assert places == sorted(places), "in key order"
        if not only:
            for row in actions_as_of(connection, t):
                key = (symbols[row.instrument_id], row.ex_date, row.kind)
                assert key not in found
                found[key] = (row.version_hash, row.known_from.replace(tzinfo=UTC))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_at_every_moment_the_greatest_version_known_by_then_was_in_force(database: Database, seed: int) -> None:
    order = random.Random(seed)
    arrivals = history(order)
    store(database, arrivals, order)
    times = sorted({arrival.broker_time for arrival in arrivals})
    assert read(database, times[0] - MINUTE) == {}
    answers = set()
    for t in times:
        wanted = in_force(arrivals, t)
        assert read(database, t) == wanted, t
        assert read(database, t + MINUTE / 2) == wanted, t
        answers.add(tuple(sorted((str(key), digest) for key, (digest, _) in wanted.items())))
    assert len(answers) > 3, "the past is not one"


def test_now_equals_the_tables_row_for_row_and_column_for_column(database: Database) -> None:
    order = random.Random(9)
    store(database, history(order), order)
    with snapshot(database.writer) as connection:
        assert [tuple(row) for row in bars_as_of(connection, LAST)] == [
            tuple(row) for row in database.rows(schema.bars)
        ]
        assert [tuple(row) for row in actions_as_of(connection, LAST)] == [
            tuple(row) for row in database.rows(schema.corporate_actions)
        ]


def test_only_what_is_asked_for_is_read(database: Database) -> None:
    order = random.Random(3)
    arrivals = history(order)
    store(database, arrivals, order)
    for t in (NOW + 3 * MINUTE, LAST):
        wanted = {key: found for key, found in in_force(arrivals, t).items() if isinstance(key[2], dt.datetime)}
        minutes = {key: found for key, found in wanted.items() if key[1] == "1m"}
        aapl = {key: found for key, found in wanted.items() if key[0] == "AAPL"}
        assert read(database, t, instrument=Instrument("AAPL", "XNYS")) == aapl
        assert read(database, t, interval=Interval.M1) == minutes
        assert read(database, t, instrument=Instrument("AAPL", "XLON")) == {}
    with snapshot(database.writer) as connection:
        assert {row.instrument_id for row in actions_as_of(connection, LAST, Instrument("MSFT", "XNYS"))} == set()


def test_a_moment_in_another_zone_is_the_same_moment_and_one_without_a_zone_is_refused(database: Database) -> None:
    order = random.Random(4)
    store(database, history(order), order)
    tokyo = dt.timezone(dt.timedelta(hours=9))
    t = NOW + 5 * MINUTE
    assert read(database, t.astimezone(tokyo)) == read(database, t)
    with snapshot(database.writer) as connection, pytest.raises(ValueError, match="no zone"):
        bars_as_of(connection, t.replace(tzinfo=None))
