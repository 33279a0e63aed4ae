"""When rows become visible: the one way in which every pipeline is timed, whoever writes.

A pipeline's rate is (rows that became visible after the first sight) / (time from the first sight of a row to the
sight of the last one), looked at every 20 ms from a connection of its own. So process start, group join and the first
batch are left out for all alike, and nobody's own clock is believed. ``whole_s`` beside it is the time from the start
of the process.

Looking costs next to nothing: until a row is there the table is empty, after that only the last bar of each partition
is looked up by its key; rows are counted once at first sight and once at the end.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from benchmarks.measure import Meter
from streamlake_assets.errors import StreamlakeError

LOOK_S = 0.02
PATIENCE_S = 120.0


class Watched(msgspec.Struct):
    """Two sights of a table: rows by then, seconds since the watch began, processor seconds of each process by then."""

    first_rows: int
    first_s: float
    first_cpu: dict[str, float]
    rows: int
    last_s: float
    last_cpu: dict[str, float]

    @property
    def rows_between(self) -> int:
        """Rows that became visible after the first sight."""
        return self.rows - self.first_rows

    @property
    def seconds(self) -> float:
        """Time between the sights."""
        return self.last_s - self.first_s

    def cpu(self) -> dict[str, float]:
        """Return processor seconds between the sights."""
        return {name: round(self.last_cpu[name] - before, 3) for name, before in self.first_cpu.items()}


Count = Callable[[sa.Connection], int]
"""Says how far it is; 0: nothing yet."""


def watch(
    engine: sa.Engine,
    meter: Meter,
    count: Count,
    at_end: Callable[[sa.Connection], bool],
    total: int,
    alive: Callable[[], bool],
    patience_s: float = PATIENCE_S,
) -> Watched:
    """Return when ``at_end`` holds and ``count`` says ``total``.

    Args:
        engine: used for one connection.
        meter: asked for processor seconds at both sights.
        count: number of rows, or of messages by the stored offsets.
        at_end: cheap sign that the last row is there.
        total: what the count must be in the end.
        alive: whether the writer still runs.
        patience_s: longest wait for the first sight, and after it for the last one.

    Raises:
        StreamlakeError: the writer ended or the rows did not come.
    """
    started = time.perf_counter()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        first, first_s, first_cpu = 0, 0.0, {}
        deadline = started + patience_s
        while True:
            if not first:
                first = count(connection)
                if first:
                    first_s, first_cpu = time.perf_counter() - started, meter.cpu()
                    deadline = time.perf_counter() + patience_s
            elif at_end(connection):
                now, cpu = time.perf_counter() - started, meter.cpu()
                found = count(connection)
                if found >= total:
                    return Watched(first, first_s, first_cpu, found, now, cpu)
            if time.perf_counter() > deadline or not alive():
                raise StreamlakeError(
                    f"{first} rows at first sight, then not all of {total:,}: the writer is stuck or ended"
                )
            time.sleep(LOOK_S)


def count_rows(table: sa.Table) -> Count:
    """Count a table's rows."""
    query = sa.select(sa.func.count()).select_from(table)
    return lambda connection: int(connection.execute(query).scalar_one())


def count_offsets(table: sa.Table, start: int = 0) -> Count:
    """Count messages by the stored offsets, from ``start`` on."""
    query = sa.select(sa.func.coalesce(sa.func.sum(table.c.next_offset), 0))
    return lambda connection: max(0, int(connection.execute(query).scalar_one()) - start)


def keys_are_there(table: sa.Table, keys: Sequence[Mapping[str, Any]]) -> Callable[[sa.Connection], bool]:
    """Tell whether all rows with these keys are in a table."""
    wanted = [sa.and_(*(table.c[name] == value for name, value in key.items())) for key in keys]
    query = sa.select(sa.func.count()).select_from(table).where(sa.or_(*wanted))
    return lambda connection: connection.execute(query).scalar_one() == len(keys)


class Background(threading.Thread):
    """A watch that runs beside the one who starts the writer; ``result`` waits and raises what it raised."""

    def __init__(self, work: Callable[[], Watched]) -> None:
        super().__init__(name="watch", daemon=True)
        self._work = work
        self._found: Watched | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run the watch."""
        try:
            self._found = self._work()
        except BaseException as error:  # handed to the thread that asks
            self._error = error

    def result(self) -> Watched:
        """Return what was seen."""
        self.join()
        if self._error is not None:
            raise self._error
        if self._found is None:
            raise StreamlakeError("the watch was never started")
        return self._found
