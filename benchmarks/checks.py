"""What the tables hold after a run, to be compared with what was sent; and emptying them before one.

Belongs here: the few statements that look at the tables from outside. Stays out: what is expected (``made_bars``). A
fast wrong run is a failed run: a difference ends everything.
"""

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from benchmarks.made_bars import Sums, row_digest
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.market.types import Bar

SINK_TABLE = "bars_sink"

_SUMS = sa.text(
    """
    SELECT COUNT(*), COALESCE(SUM(b.volume), 0), COALESCE(SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('|', i.symbol, v.name,
        b.bar_time, b.open, b.high, b.low, b.close, b.volume), 256), 15), 16, 10) AS UNSIGNED)), 0)
    FROM bars b JOIN instruments i ON i.id = b.instrument_id JOIN bar_intervals v ON v.id = b.interval_id
    """
)
_SINK_SUMS = sa.text(
    """
    SELECT COUNT(*), COALESCE(SUM(b.volume), 0), COALESCE(SUM(CAST(CONV(LEFT(SHA2(CONCAT_WS('|', b.symbol, b.`interval`,
        b.bar_time, b.open, b.high, b.low, b.close, b.volume), 256), 15), 16, 10) AS UNSIGNED)), 0)
    FROM bars_sink b
    """
)
_OFFSETS = sa.text("SELECT partition_no, next_offset FROM stream_offsets WHERE next_offset > 0 ORDER BY partition_no")
_EMPTY = (
    "SET SESSION foreign_key_checks = 0",
    "TRUNCATE TABLE bars",
    "TRUNCATE TABLE bar_revisions",
    "TRUNCATE TABLE ingest_touches",
    "TRUNCATE TABLE dead_letters",
    "TRUNCATE TABLE stopped_partitions",
    "TRUNCATE TABLE stream_offsets",
    "TRUNCATE TABLE ingest_batches",
    "SET SESSION foreign_key_checks = 1",
)


class WrongRunError(StreamlakeError):
    """The tables do not hold what was sent: no figure of this run counts."""


def empty_tables(engine: sa.Engine) -> None:
    """Empty the raw tables, offsets and batches; instruments, sources and streams stay."""
    with engine.begin() as connection:
        for statement in _EMPTY:
            connection.exec_driver_sql(statement)
        if sa.inspect(connection).has_table(SINK_TABLE):
            connection.exec_driver_sql("TRUNCATE TABLE bars_sink")


def sums(engine: sa.Engine, sink: bool = False) -> Sums:
    """Return count, sum of volumes and digest of ``bars``, or of the sink's table."""
    with engine.connect() as connection:
        rows, volume, digest = connection.execute(_SINK_SUMS if sink else _SUMS).one()
    return Sums(int(rows), int(volume), int(digest))


def sums_of(sent: Iterable[Bar]) -> Sums:
    """Return what a table must hold after these bars."""
    rows = volume = digest = 0
    for bar in sent:
        rows, volume, digest = rows + 1, volume + int(bar.volume or 0), digest + row_digest(bar)
    return Sums(rows, volume, digest)


def stored_offsets(engine: sa.Engine) -> dict[int, int]:
    """Return the stored next offset of each partition that has one."""
    with engine.connect() as connection:
        return {row.partition_no: row.next_offset for row in connection.execute(_OFFSETS)}


def require(what: str, found: object, sent: object) -> None:
    """Compare.

    Raises:
        WrongRunError: they differ.
    """
    if found != sent:
        raise WrongRunError(f"{what}: {found} in the tables, {sent} sent; the run does not count")


def require_offsets(what: str, engine: sa.Engine, ends: Mapping[int, int]) -> None:
    """Compare the stored offsets with what they must be.

    Raises:
        WrongRunError: they differ.
    """
    require(f"{what}, offsets", stored_offsets(engine), dict(ends))
