"""What the server's time for a row is made of: the same rows written in other ways, to see what each part costs.

Timed: statements and commits, one for each batch of 5,000 bars, on texts made before. Compared: rows in a statement,
the check of foreign keys, and the parser (LOAD DATA reads no SQL). Each way runs in turn, one warm-up and three rounds;
figures are processor seconds of the server, which a busy neighbour disturbs less than wall time. Checked: the number of
rows. The consumer writes many new bars by literals with foreign keys not checked (their parents are held), few of them
and all else checked.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from benchmarks.cases.exactly_once import BATCH, slices
from benchmarks.measure import Meter
from benchmarks.rig import Rig, write_batches
from streamlake_assets.broker.topics import describe_streams
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.stores import literals, row_writers, schema
from streamlake_assets.stores.fact_tables import BARS
from streamlake_assets.stores.prepared import prepare
from streamlake_assets.stores.row_writers import Block, LoadWriter, StatementWriter

ROWS = 50_000
ROUNDS = 3
Write = Callable[[sa.Connection, Sequence[Block]], None]


class Way(NamedTuple):
    """One way to write a batch, and whether the server checks foreign keys."""

    name: str
    write: Write
    checks: bool = True


def measure(rig: Rig) -> list[dict[str, Any]]:
    """Return the server's processor time a row of each way, in microseconds: median, least and greatest of the rounds.

    Raises:
        SystemExit: a way did not write all rows.
    """
    topic = describe_streams(rig.settings.kafka, (BARS_TOPIC,))[BARS_TOPIC]
    known = rig.references
    rows = min(rig.rows, ROWS) // BATCH * BATCH
    batches: list[list[Block]] = []
    for part in slices(topic, rows):
        blocks: list[Block] = [
            ((known.instruments[run.instrument.symbol], known.intervals[run.interval], known.source, 1), run.tails)
            for run in prepare(part).series
        ]
        batches.append(sorted(blocks, key=lambda block: block[0]))
    ways = _ways()
    seen: dict[str, list[tuple[float, float]]] = {way.name: [] for way in ways}
    for number in range(ROUNDS + 1):
        for way in ways:
            spent = _run(rig, way, batches, rows)
            if number:
                seen[way.name].append(spent)
    found = []
    for name, rounds in seen.items():
        server, wall = ([round(one[side] / rows * 1e6, 1) for one in rounds] for side in (0, 1))
        found.append(
            {
                "way": name,
                "rows": rows,
                "server_us": statistics.median(server),
                "server_us_range": [min(server), max(server)],
                "wall_us": statistics.median(wall),
            }
        )
        rig.say(f"server share, {name}: {found[-1]['server_us']} µs of MySQL a row")
    return found


def _run(rig: Rig, way: Way, batches: Sequence[Sequence[Block]], rows: int) -> tuple[float, float]:
    rig.empty()
    with rig.owner.begin() as connection:
        write_batches(connection, rig.stream_id(), 1, size=rows)
    rig.settle()
    with Meter(rig.pids()) as meter, rig.owner.connect() as connection:
        connection.exec_driver_sql("SET SESSION foreign_key_checks=1" if way.checks else "SET foreign_key_checks=0")
        before, started = meter.cpu(), time.perf_counter()
        for blocks in batches:
            way.write(connection, blocks)
            connection.commit()
        wall, after = time.perf_counter() - started, meter.cpu()
        connection.exec_driver_sql("SET SESSION foreign_key_checks=1")
    stored = rig.scalar(sa.select(sa.func.count()).select_from(schema.bars))
    if stored != rows:
        raise SystemExit(f"{way.name}: {stored} rows instead of {rows}")
    return after["mysql"] - before["mysql"], wall


def _ways() -> list[Way]:
    return [
        Way("literals, 2,000 rows a statement", _literals(2_000)),
        Way("literals, 500 rows a statement", _literals(500)),
        Way("literals, 5,000 rows a statement", _literals(5_000)),
        Way("literals, 2,000 rows a statement, foreign keys not checked", _literals(2_000), checks=False),
        Way("LOAD DATA through a staging table (backfill)", _staged),
        Way("LOAD DATA into the table", _loaded),
        Way("LOAD DATA into the table, foreign keys not checked", _loaded, checks=False),
    ]


def _literals(rows: int) -> Write:
    def write(connection: sa.Connection, blocks: Sequence[Block]) -> None:
        usual, row_writers.ROWS_PER_STATEMENT = row_writers.ROWS_PER_STATEMENT, rows  # type: ignore[misc]
        try:
            StatementWriter().insert(connection, BARS.table.name, BARS.written, blocks)
        finally:
            row_writers.ROWS_PER_STATEMENT = usual  # type: ignore[misc]

    return write


def _staged(connection: sa.Connection, blocks: Sequence[Block]) -> None:
    LoadWriter().insert(connection, BARS.table.name, BARS.written, blocks)


def _loaded(connection: sa.Connection, blocks: Sequence[Block]) -> None:
    with os.fdopen(os.memfd_create("rows"), "wb") as file:
        for ids, tails in blocks:
            file.write(literals.lines(ids, tails).encode())
        file.flush()
        connection.exec_driver_sql(literals.load(BARS.table.name, BARS.written, file.fileno()))
