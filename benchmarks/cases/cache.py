"""The page of key indicators out of the document store against the SQL behind it, on a long daily history.

Real MySQL at its default durability with a buffer pool of 1 GiB, and the document store that the chain starts: on this
machine a stand-in that speaks MongoDB's protocol, not MongoDB, unless the report names another. Made daily bars of
2,500 sessions: of 400 instruments (quick, 1 million bars) or 2,000 (full, 5 million), loaded by ``LOAD DATA``. Feature
buckets are written by the store's own method from the same numbers. For five instruments the product's own refresh
makes them again from the tables, which must change nothing, and measures the periods of all. Session documents of the
others are left out: no question about indicators reads them, and five million take the stand-in longer than the rest.

Timed, in turn; documents and SQL by the threads that answer pages (``panel_app.readers``), from question to answer:

* documents: the table of the newest year, every instrument a line, as the page has it.
* periods: the names of all years and the lines of the newest one, out of the collection ``periods`` alone, in which the
  refresh has put down what the table shows.
* buckets: the whole series of every instrument read from the feature buckets, measured by nobody.
* SQL: the same table by the page's own SQL, which reads all daily bars and measures them here. The page reads a million
  rows at most (``page_measures.MOST_ROWS``) and refuses more; the bound is lifted here.
* aggregate: one statement written by hand, with which MySQL itself measures return, volatility, dollar volume and VWAP
  of that one year from its rows alone: what SQL can be brought down to when it need not give beta, correlation,
  drawdown, best and worst session, the names of all periods, or another year without being asked again.

Checked in every round: documents, periods and SQL give the same lines; the aggregate agrees with them.
"""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import sqlalchemy as sa

from benchmarks import made_history as made
from benchmarks.checks import WrongRunError, require
from benchmarks.rig import TUNING, root_engine
from benchmarks.stack import Stack, fresh_stack
from panel_app.indicator_table import differences
from panel_app.questions import Indicators, IndicatorsAnswer, Source
from panel_app.readers import Readers
from panel_app.shelf import Shelf
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows.documents import refresh_documents
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import Grouping, IndicatorLine
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.types import Instrument
from streamlake_assets.servers.waiting import Say, wait_until
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.sidecar.replay import now
from streamlake_assets.stores import page_measures, schema
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets.stores.period_documents import period_lines, period_names

NAME = "cache"
SESSIONS = 2_500
INSTRUMENTS = {"quick": 400, "full": 2_000}
ROUNDS = 3
REFRESHED = 5
"""Instruments whose documents the product's own refresh makes from the tables."""
PER_LOAD = 100
"""Instruments of one transaction."""
PATIENCE_S = 1_800.0
Found = TypeVar("Found")
_MEASURES = (
    *("sessions", "period_return", "annualised_volatility", "max_drawdown", "dollar_volume", "vwap", "beta"),
    *("correlation", "best", "worst"),
)
SMALL = 1e-6
"""Relative difference allowed between the server's decimals and doubles."""
_LOAD = sa.text(
    """
    LOAD DATA LOCAL INFILE :file INTO TABLE bars CHARACTER SET latin1
    (instrument_id, bar_time, session_date, open, high, low, close, volume, kafka_offset)
    SET interval_id = :interval_id, status = 'settled', synthetic = 1, source_id = :source_id, batch_id = :batch_id,
        as_of = bar_time + INTERVAL 1 DAY, event_time = bar_time + INTERVAL 1 DAY,
        known_from = bar_time + INTERVAL 1 DAY, version_hash = LEFT(UNHEX(SHA2(kafka_offset, 256)), 16)
    """
)
_AGGREGATE = sa.text(
    """
    WITH one AS (
        SELECT instrument_id, session_date, high, low, close, volume,
            LN(close / LAG(close) OVER (PARTITION BY instrument_id ORDER BY bar_time)) AS step
        FROM bars
        WHERE interval_id = :interval_id AND status = 'settled'
            AND session_date BETWEEN CAST(:first AS DATE) - INTERVAL 15 DAY AND :last
    )
    SELECT i.symbol, COUNT(*), EXP(SUM(step)) - 1, STDDEV_SAMP(step) * SQRT(252), SUM(close * volume),
        SUM((high + low + close) / 3 * volume) / SUM(volume)
    FROM one JOIN instruments i ON i.id = one.instrument_id
    WHERE session_date >= :first
    GROUP BY i.symbol
    """
)


def run(profile: str, say: Say) -> dict[str, Any]:
    """Load, make the documents, and ask in turn.

    Raises:
        WrongRunError: two ways gave different tables.
    """
    days = made.days(SESSIONS)
    instruments = INSTRUMENTS[profile]
    rows = instruments * len(days.dates)
    with fresh_stack(say, consume=False) as stack:
        _tune(stack)
        load_s = _timed(lambda: _load(stack, days, instruments, say))
        documents = DocumentStore(stack.settings)
        try:
            buckets_s = _timed(lambda: _put_buckets(documents, days, instruments))
            say(f"{NAME}: {rows:,} bars loaded in {load_s} s, buckets made in {buckets_s} s")
            refresh_s = _timed(lambda: _refresh_some(stack, documents))
            say(f"{NAME}: documents refreshed in {refresh_s} s")
            rounds = _rounds(stack, documents, instruments, rows, say)
        finally:
            documents.close()
    return {
        "case": NAME,
        "servers": stack.servers,
        "rows": rows,
        "instruments": instruments,
        "sessions": len(days.dates),
        "load_s": load_s,
        "buckets_s": buckets_s,
        "refresh_s": refresh_s,
        "rounds": [times for times, _ in rounds],
    }


def _tune(stack: Stack) -> None:
    flavour = "mariadb" if any("MariaDB" in what for what in stack.servers) else "mysql"
    root = root_engine(stack.settings)
    with root.connect() as connection:
        for statement in TUNING[flavour]:
            connection.exec_driver_sql(statement)
    root.dispose()


def _load(stack: Stack, days: made.Days, instruments: int, say: Say) -> None:
    owner = make_engine(stack.settings, DatabaseRole.MIGRATE, local_infile=True)
    rows = instruments * len(days.dates)
    try:
        with owner.begin() as connection:
            ids = _references(stack, connection, rows, instruments)
        with tempfile.TemporaryDirectory(prefix="streamlake-bench-") as folder:
            file = Path(folder) / "bars.tsv"
            for start in range(0, instruments, PER_LOAD):
                part = range(start, min(start + PER_LOAD, instruments))
                with file.open("w") as output:
                    for number in part:
                        known = ids["instruments"][made.symbol(number)]
                        output.writelines(made.lines(number, known, days, number * len(days.dates)))
                values = {name: ids[name] for name in ("interval_id", "source_id", "batch_id")}
                with owner.begin() as connection:
                    connection.exec_driver_sql("SET SESSION foreign_key_checks=0")
                    connection.execute(_LOAD, {"file": str(file), **values})
                    connection.exec_driver_sql("SET SESSION foreign_key_checks=1")
                if (part.stop % 500) == 0:
                    say(f"{NAME}: {part.stop * len(days.dates):,} of {rows:,} bars loaded")
        with owner.begin() as connection:
            connection.exec_driver_sql("ANALYZE TABLE bars")
            require(
                f"{NAME}, rows", connection.execute(sa.select(sa.func.count()).select_from(schema.bars)).scalar(), rows
            )
    finally:
        owner.dispose()


def _references(stack: Stack, connection: sa.Connection, rows: int, instruments: int) -> dict[str, Any]:
    """Insert what bars point to, and the batch and the touches of a part of them; return the ids."""

    def insert(table: sa.Table, **values: Any) -> int:
        return int(connection.execute(sa.insert(table).values(**values)).lastrowid)

    exchange = insert(schema.exchanges, mic=made.EXCHANGE, zone="America/New_York")
    records = [
        {"symbol": made.symbol(number), "exchange_id": exchange, "asset_class": "stock"}
        for number in range(instruments)
    ]
    connection.execute(sa.insert(schema.instruments), records)
    i, v = schema.instruments.c, schema.bar_intervals.c
    found = {
        "instruments": dict(connection.execute(sa.select(i.symbol, i.id)).tuples().all()),
        "interval_id": connection.execute(sa.select(v.id).where(v.name == "1d")).scalar_one(),
        "source_id": insert(schema.data_sources, name="benchmark", source_rank=20),
    }
    stream = describe_streams(stack.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC]
    stream_id = insert(schema.streams, **stream._asdict())
    counts = {"messages": rows, "new": rows, "changed": 0, "same": 0, "older": 0, "dead": 0, "versions": rows}
    place = {"stream_id": stream_id, "partition_no": 0, "next_offset": rows}
    found["batch_id"] = insert(schema.ingest_batches, **place, **counts, first_offset=0, consumer="benchmark")
    connection.execute(sa.insert(schema.stream_offsets).values(**place))
    months = sorted({day.replace(day=1) for day in made.days(SESSIONS).dates})
    touches = [
        {
            "batch_id": found["batch_id"],
            "instrument_id": found["instruments"][made.symbol(number)],
            "interval_id": found["interval_id"],
            "month": month,
        }
        for number in range(REFRESHED)
        for month in months
    ]
    connection.execute(sa.insert(schema.ingest_touches), touches)
    return found


def _put_buckets(documents: DocumentStore, days: made.Days, instruments: int) -> None:
    for number in range(instruments):
        documents.put_buckets(made.by_year(made.series(number, days)))


def _refresh_some(stack: Stack, documents: DocumentStore) -> None:
    """Let the product make what was put for some instruments: it must be the same."""
    wanted = [Instrument(made.symbol(number), made.EXCHANGE) for number in range(REFRESHED)]
    before = [one for of in wanted for one in documents.series(of)]
    refresh_documents(stack.engine, documents, now())
    after = [one for of in wanted for one in documents.series(of)]
    require(f"{NAME}, buckets of the refresh", [_bytes(one) for one in after], [_bytes(one) for one in before])


def _bytes(of: SessionSeries) -> list[bytes]:
    names = ("sessions", "open", "high", "low", "close", "volume", "factor")
    return [of.symbol.encode(), *(np.ascontiguousarray(getattr(of, name)).tobytes() for name in names)]


Round = tuple[dict[str, float], IndicatorsAnswer]


def _rounds(stack: Stack, documents: DocumentStore, instruments: int, rows: int, say: Say) -> list[Round]:
    found: list[Round] = []
    shelf = Shelf()
    readers = Readers(stack.settings, shelf)
    readers.start()
    try:
        with patch.object(page_measures, "MOST_ROWS", rows):
            for number in range(ROUNDS + 1):
                times, answer = _round(stack, documents, shelf, instruments)
                say(f"{NAME} round {number}{' (warm-up)' if number == 0 else ''}: {times}")
                if number:
                    found.append((times, answer))
    finally:
        readers.close()
    return found


def _round(stack: Stack, documents: DocumentStore, shelf: Shelf, instruments: int) -> Round:
    ours, ours_s = _ask(shelf, Source.DOCUMENTS)
    require(f"{NAME}, lines", len(ours.lines), instruments + 1)
    periods_s, lines = _clocked(lambda: _periods(documents, ours.period))
    _require_equal_measures(ours, lines)
    buckets_s, series = _clocked(documents.series)
    require(f"{NAME}, series in buckets", len(series), instruments)
    aggregate_s, rows = _clocked(lambda: _aggregate(stack, ours.period))
    _require_near(ours, rows)
    theirs, theirs_s = _ask(shelf, Source.SQL)
    _require_same(ours, theirs)
    times = {
        "documents_s": ours_s,
        "periods_s": periods_s,
        "buckets_s": buckets_s,
        "aggregate_s": aggregate_s,
        "sql_s": theirs_s,
        "sql_read_s": theirs.read_s,
    }
    return {name: round(value, 4) for name, value in times.items()}, ours


def _periods(documents: DocumentStore, year: str) -> tuple[IndicatorLine, ...]:
    names = period_names(documents, PeriodKind.YEAR)
    require(f"{NAME}, newest year of the periods", names[0], year)
    return period_lines(documents, Grouping.INSTRUMENT, PeriodKind.YEAR, names[0])


def _require_equal_measures(ours: IndicatorsAnswer, lines: Sequence[IndicatorLine]) -> None:
    require(f"{NAME}, subjects of the periods", [one.subject for one in lines], [one.subject for one in ours.lines])
    for one, other in zip(lines, ours.lines, strict=True):
        for name in _MEASURES:
            mine, shown = getattr(one.measures, name), getattr(other.measures, name)
            alike = math.isclose(mine, shown, rel_tol=1e-9, abs_tol=1e-9) if isinstance(mine, float) else mine == shown
            if not alike:
                raise WrongRunError(f"{NAME}: {name} of {one.subject} is {mine} in periods and {shown} on the page")


def _ask(shelf: Shelf, source: Source) -> tuple[IndicatorsAnswer, float]:
    """Ask as an open page does; return the answer and how many seconds a thread worked on it."""
    question = Indicators(source, Grouping.INSTRUMENT, PeriodKind.YEAR)
    shelf.watch(question)
    try:
        wait_until(lambda: bool((known := shelf.answer(question)).at or known.problem), PATIENCE_S)
        answer = shelf.answer(question)
    finally:
        shelf.unwatch(question)
    if answer.value is None:
        raise StreamlakeError(f"{source.value}: {answer.problem or 'no answer in time'}")
    return answer.value, answer.took_s


def _aggregate(stack: Stack, year: str) -> Sequence[sa.Row[Any]]:
    with stack.engine.connect() as connection:
        v = schema.bar_intervals.c
        interval_id = connection.execute(sa.select(v.id).where(v.name == "1d")).scalar_one()
        values = {"interval_id": interval_id, "first": f"{year}-01-01", "last": f"{year}-12-31"}
        return connection.execute(_AGGREGATE, values).all()


def _require_same(ours: IndicatorsAnswer, theirs: IndicatorsAnswer) -> None:
    apart = differences(ours.lines, theirs.lines)
    if apart or ours.period != theirs.period:
        raise WrongRunError(f"{NAME}: documents and SQL differ in {len(apart)} places, first {apart[:3]}")


def _require_near(ours: IndicatorsAnswer, rows: Sequence[sa.Row[Any]]) -> None:
    known = {
        line.subject.partition(" ")[0]: (
            line.measures.sessions,
            line.measures.period_return,
            line.measures.annualised_volatility,
            line.measures.dollar_volume,
            line.measures.vwap,
        )
        for line in ours.lines
        # the last line is about all of them together
        if line.members == 1
    }
    require(f"{NAME}, instruments of the aggregate", {row[0] for row in rows}, set(known))
    for row in rows:
        values: tuple[Any, ...] = tuple(row)[1:]
        for one, other in zip(values, known[row[0]], strict=True):
            if other is None or not math.isclose(float(one), float(other), rel_tol=SMALL, abs_tol=SMALL):
                raise WrongRunError(f"{NAME}: {row[0]} has {one} in the aggregate and {other} on the page")


def _timed(work: Callable[[], object]) -> float:
    return round(_clocked(work)[0], 1)


def _clocked(work: Callable[[], Found]) -> tuple[float, Found]:
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found
