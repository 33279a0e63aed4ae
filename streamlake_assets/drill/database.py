"""Rows 19, 20 and 22: locks, a database that is killed, a COMMIT whose answer is lost, a full disk.

Belongs here: what a database does to single transactions, and to its own files. Stays out: a database that is away for
minutes (``outages``).
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from msgspec.structs import replace

from streamlake_assets.drill import tables
from streamlake_assets.drill.cases import fault
from streamlake_assets.drill.checker import DrillError, Outcome
from streamlake_assets.drill.manifest import Sending, numbered_bars, sending
from streamlake_assets.drill.plant import Plant
from streamlake_assets.drill.proxy import Proxy
from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.types import Bar
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import schema
from streamlake_assets.stores.mysql import make_engine

OUTAGES = "streamlake_outages_total"
_HEAVY_ROWS = 3_000
_WAITING = sa.text("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")
"""Not the list of transactions: the server makes that anew only when nobody has looked for a while."""
BALLAST = "ballast"
LEFT_MIB = 4
"""What the full disk has left for tables and logs to grow into."""
STILL_S = 10.0
CLEAN_EXITS = {error.exit_code for error in (TryLaterError, IntegrityError)}


@fault(row=19, title="deadlock", injected="a transaction that takes rows in the other order")
def deadlock(plant: Plant) -> Outcome:
    """The server ends the consumer's transaction; the batch is done again, whole."""
    rounds = 2 if plant.fast else 10
    bars = [bar for bar in numbered_bars(20 * 60) if bar.symbol == "S0"]
    consumer = plant.consumer().until_ready()
    plant.send([sending(bar) for bar in bars])
    plant.until_stored()
    waits = []
    with _hostile(plant) as hostile:
        for number in range(1, rounds + 1):
            before = consumer.metric(OUTAGES)
            with hostile.begin():
                _become_heavy(hostile)
                _lock(hostile, bars[-1])
                plant.send(_versions(bars, number))
                plant.until(partial(_somebody_waits, hostile), "a consumer that waits")
                _lock(hostile, bars[-2])
            waits.append(plant.until_stored())
            if consumer.metric(OUTAGES) <= before:
                raise DrillError("the server chose the other transaction")
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = max(waits)
    outcome.facts |= {"deadlocks": rounds, "batches_put_off": plant.logged("put_off")}
    return outcome


@fault(row=19, title="lock wait timeout", injected="a transaction that keeps rows locked")
def lock_wait(plant: Plant) -> Outcome:
    """The batch is put off, again and again, and lands when the row is free."""
    held_s = 13.0 if plant.fast else 23.0
    bars = [bar for bar in numbered_bars(20 * 60) if bar.symbol == "S0"]
    consumer = plant.consumer().until_ready()
    plant.send([sending(bar) for bar in bars])
    plant.until_stored()
    with _hostile(plant) as hostile, hostile.begin():
        _lock(hostile, bars[-1])
        plant.send(_versions(bars, 1))
        plant.until(partial(_somebody_waits, hostile), "a consumer that waits")
        plant.hold(held_s, consumer)
        stored = plant.stored()
    recovery = plant.until_stored()
    timeouts = consumer.metric(OUTAGES)
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(timeouts > 0, "no batch was put off")
    outcome.require(stored < outcome.sent, "the lock held nothing up")
    outcome.facts |= {"locked_s": held_s, "batches_put_off": plant.logged("put_off")}
    return outcome


@fault(row=20, title="database killed in mid-stream", injected="SIGKILL of the real database", fast=True)
def database_killed(plant: Plant) -> Outcome:
    """What was committed is there, what was not is done again."""
    kills, rate = (1, 2_000) if plant.fast else (5, 5_000)
    server = plant.mysql.child
    if server is None:
        raise DrillError("the plant has no database of its own")
    consumer = plant.consumer().until_ready()
    recoveries = []
    with plant.streaming(rate):
        for _ in range(kills):
            plant.until_more_stored(plant.stored())
            server.kill()
            plant.until(lambda: not server.running, "the end of the database")
            server.stop()
            plant.mysql.start()
            before = plant.stored()
            recoveries.append(plant.until_more_stored(before))
    plant.until_stored()
    outages = consumer.metric(OUTAGES)
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.require(max(recoveries) < 15, f"it took {max(recoveries):.1f} s to store again")
    outcome.require(outages >= kills, f"{outages:g} outages were counted for {kills} kills")
    outcome.facts |= {"kills": kills, "recovery_s_each": [round(one, 1) for one in recoveries]}
    return outcome


@fault(row=20, title="the answer to a COMMIT is lost", injected="proxy before the database", fast=True)
def lost_commit(plant: Plant) -> Outcome:
    """Only the stored offset can tell whether the batch is in; it is not stored twice."""
    cuts = 1 if plant.fast else 10
    proxy = plant.proxy()
    consumer = plant.consumer(database=proxy).until_ready()
    recoveries = []
    size = 500
    for number in range(cuts):
        proxy.lose_next_commit()
        before = proxy.lost_commits
        plant.send([sending(bar) for bar in numbered_bars(size, first=number * size)], per_second=2_000)
        plant.until(partial(_has_lost, proxy, before), "a lost COMMIT")
        recoveries.append(plant.until_stored())
    outages = consumer.metric(OUTAGES)
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = max(recoveries)
    outcome.require(max(recoveries) < 15, f"it took {max(recoveries):.1f} s to store again")
    outcome.facts |= {"commits_lost": proxy.lost_commits, "outages_counted": int(outages)}
    return outcome


@fault(row=20, title="the database falls silent, half open", injected="proxy before the database")
def silent_database(plant: Plant) -> Outcome:
    """Connections stay open and nothing comes: the consumer gives up the wait by itself and starts anew."""
    proxy = plant.proxy()
    consumer = plant.consumer(database=proxy).until_ready()
    numbered = [sending(bar) for bar in numbered_bars(4_000)]
    plant.send(numbered[:2_000])
    plant.until_stored()
    proxy.silence()
    begun = time.monotonic()
    plant.send(numbered[2_000:])
    plant.until(lambda: plant.logged("put_off") > 0, "the end of the consumer's patience", 180)
    patience = time.monotonic() - begun
    if plant.stored() >= len(numbered):
        raise DrillError("the silence held nothing up")
    proxy.restore()
    proxy.cut()
    proxy.restore()
    recovery = plant.until_stored()
    consumer.stop()
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(recovery < 15, f"it took {recovery:.1f} s to store again")
    outcome.facts |= {"given_up_after_s": round(patience)}
    return outcome


@fault(row=22, title="disk full", injected="the database's folder on a small file system")
def disk_full(plant: Plant) -> Outcome:
    """Nothing is stored while there is no room, nothing is corrupted, and all is stored when there is room again."""
    settings = tables.local_settings(plant.folder / f"full-{time.monotonic_ns()}", plant.settings.local_mysql)
    settings = settings.model_copy(update={"kafka_bootstrap": plant.settings.kafka})
    home = Home.of(settings).create()
    with _small_disk(home.data) as refused:
        if refused:
            return Outcome(not_run=f"a file system of limited size cannot be mounted here: {refused}")
        server = LocalMysql(settings, ChildRegistry(home))
        server.prepare(plant.say)
        server.start()
        try:
            tables.PlantSchema(make_engine(settings, DatabaseRole.MIGRATE)).close()
            with plant.elsewhere(settings):
                return _disk_full(plant, server, home.data)
        finally:
            server.stop()


def _disk_full(plant: Plant, server: LocalMysql, disk: Path) -> Outcome:
    consumer = plant.consumer().until_ready()
    with plant.streaming(1_000):
        plant.until_more_stored(0)
        _fill(disk, left_mib=LEFT_MIB)
        still = _Stillness(plant)
        plant.until(lambda: still.for_s() > STILL_S or not consumer.running, "the end of storing", 180)
        # a server that waits for room holds the COMMIT back: only the consumer's patience ends that
        patience = plant.until(lambda: consumer.get("/readyz")[0] != 200, "a consumer that is not ready", 120)
    ready, exit_code = consumer.get("/readyz")[0], consumer.child.poll()
    free, stored = shutil.disk_usage(disk).free, still.stored
    (disk / BALLAST).unlink()
    begun = time.monotonic()
    if exit_code is not None:
        consumer = plant.consumer()
    starts = 0

    def all_is_stored() -> bool:
        nonlocal starts
        if server.child is not None and not server.child.running:
            starts += 1
            server.start()
        return still.look() >= sum(plant.watermarks().values())

    plant.until(all_is_stored, "everything that waited", 180)
    recovery = time.monotonic() - begun
    outcome = plant.check()
    outcome.recovery_s = recovery
    outcome.require(stored < outcome.sent, "the disk was never full")
    clean = exit_code in (None, *CLEAN_EXITS)
    outcome.require(clean, f"the consumer ended with {exit_code} when the disk was full")
    outcome.facts |= {
        "stored_when_full": stored,
        "free_kib_when_full": free // 1024,
        "readyz_when_full": ready,
        "not_ready_s_after_the_last_batch": round(STILL_S + patience),
        "consumer_exit_code": "none, it lived on" if exit_code is None else exit_code,
        "starts_of_the_server_afterwards": starts,
    }
    consumer.stop()
    return outcome


class _Stillness:
    """How long nothing was stored; a server that does not answer stores nothing."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._since = time.monotonic()
        self.stored = -1

    def look(self) -> int:
        """Return how much is stored, as far as can be told."""
        with suppress(sa.exc.DBAPIError):
            stored = self._plant.stored()
            if stored != self.stored:
                self.stored, self._since = stored, time.monotonic()
        return self.stored

    def for_s(self) -> float:
        """Look, and return the seconds since something was stored."""
        self.look()
        return time.monotonic() - self._since


@contextmanager
def _small_disk(folder: Path, mib: int = 768) -> Iterator[str]:
    """Mount a file system of limited size; yields why it could not be, or an empty text."""
    argv = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr.strip() or f"mount ended with {done.returncode}"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", str(folder)], capture_output=True, text=True, check=True)


def _fill(disk: Path, left_mib: int) -> None:
    free = shutil.disk_usage(disk).free - left_mib * 2**20
    # in vain when the server was faster: then the disk is as full as it gets
    with suppress(OSError), (disk / BALLAST).open("wb", buffering=0) as file:
        for _ in range(free // 2**20):
            file.write(bytes(2**20))


def _has_lost(proxy: Proxy, than: int) -> bool:
    return proxy.lost_commits > than


@contextmanager
def _hostile(plant: Plant) -> Iterator[sa.Connection]:
    """Open a connection of the root user, which may take any lock and see who waits for it."""
    engine = plant.root()
    try:
        with engine.connect() as connection:
            connection.execute(
                sa.text("CREATE TABLE IF NOT EXISTS drill_weight (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
            )
            connection.execute(sa.text("DELETE FROM drill_weight"))
            rows = [{"id": number} for number in range(_HEAVY_ROWS)]
            connection.execute(sa.text("INSERT INTO drill_weight VALUES (:id, 0)"), rows)
            connection.commit()
            try:
                yield connection
            finally:
                connection.rollback()
                connection.execute(sa.text("DROP TABLE drill_weight"))
    finally:
        engine.dispose()


def _somebody_waits(connection: sa.Connection) -> bool:
    return int(connection.execute(_WAITING).one()[1]) > 0


def _become_heavy(connection: sa.Connection) -> None:
    """Change many rows: of two transactions in a deadlock the server ends the one that changed fewer."""
    connection.execute(sa.text("UPDATE drill_weight SET n = n + 1"))


def _lock(connection: sa.Connection, bar: Bar) -> None:
    b, i = schema.bars, schema.instruments
    instrument = connection.execute(sa.select(i.c.id).where(i.c.symbol == bar.symbol)).scalar_one()
    at = bar.bar_time.replace(tzinfo=None)
    connection.execute(
        sa.select(b.c.close).where(b.c.instrument_id == instrument, b.c.bar_time == at).with_for_update()
    ).all()


def _versions(bars: list[Bar], number: int) -> list[Sending]:
    """Return a newer version of each bar."""
    return [sending(replace(bar, close=bar.low, trades=number, as_of=bar.as_of.replace(second=number))) for bar in bars]
