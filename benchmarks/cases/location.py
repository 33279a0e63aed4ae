"""Dagster: how long the code location takes to load without any server, and how long its sensors and schedules tick.

Loading: a new Python process imports ``streamlake_assets.definitions``, calls its function and builds the repository
with its asset graph, jobs, sensors and schedules, as a code server does with the module of ``workspace.yaml``. An audit
hook refuses every connection and child process meanwhile. Timed in the process from before the first import (what a
code server adds to Python and itself), and from outside as the whole process; the import of Dagster alone stands
beside. Files are in the page cache and compiled: one load goes before.

Ticks: each sensor and schedule is evaluated in this process as the code server does it: with stores opened for the tick
and closed after it, and an instance whose storage lies on disk as that of ``streamlake up``. The chain is real, with
the 12,154 bars of the sample stored; the first tick has all of them to report, five more follow after one changed bar
each. Not part of it: the daemon's turn and its call of the code server (case ``age`` has ticks with both). Checked:
what is loaded is the same each time, and ticks ask and report what they should.
"""

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.checks import require
from benchmarks.samples import spread
from benchmarks.stack import Stack, fresh_stack
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.commands.services import ROOT, dagster_home
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.flows.machine import wait_idle
from streamlake_assets.market.types import Bar
from streamlake_assets.resources import StoreAccess
from streamlake_assets.servers.waiting import Say
from streamlake_assets.sidecar.replay import StoredPlaces, publish
from streamlake_assets.sources import bokeh_sample

if TYPE_CHECKING:
    import dagster as dg

NAME = "location"
LOADS = 5
TICKS = 5
IDLE_S = 10.0
_LOAD = """
import json, sys, time
wall, cpu = time.perf_counter(), time.process_time()

def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}:
        raise RuntimeError(f"{event} {arguments} while loading")

sys.addaudithook(refuse)
import dagster
imported = time.perf_counter() - wall
from streamlake_assets.definitions import defs
repository = defs().get_repository_def()
graph = repository.asset_graph
found = {
    "assets": len(graph.get_all_asset_keys()),
    "checks": len(graph.asset_check_keys),
    "jobs": len(repository.get_all_jobs()),
    "sensors": len(repository.sensor_defs),
    "schedules": len(repository.schedule_defs),
}
times = {"load_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "dagster_s": imported}
sys.stdout.write(json.dumps([found, times]))
"""


def run(_profile: str, say: Say) -> dict[str, Any]:
    """Load and tick; the same in every profile.

    Raises:
        WrongRunError: two loads found different things, or a tick asked for something else than it should.
    """
    busy = wait_idle(IDLE_S)
    holds, loads = _loads()
    say(f"{NAME}: {holds}; {loads}")
    with fresh_stack(say) as stack:
        ticks = _ticks(stack, say)
    return {
        "case": NAME,
        "servers": stack.servers,
        "holds": holds,
        "loads": loads,
        "ticks": ticks,
        "busy_before_percent": busy,
    }


def _loads() -> tuple[dict[str, int], dict[str, dict[str, float]]]:
    samples: dict[str, list[float]] = {}
    holds: dict[str, int] = {}
    for number in range(LOADS + 1):
        found, times = _load()
        if number:
            require(f"{NAME}, what was loaded", found, holds)
            for name, value in times.items():
                samples.setdefault(name, []).append(value)
        holds = found
    if not all(holds[name] for name in ("assets", "checks", "jobs", "sensors", "schedules")):
        raise StreamlakeError(f"the code location holds {holds}")
    return holds, {name: spread(values).rounded(3) for name, values in samples.items()}


def _load() -> tuple[dict[str, int], dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMLAKE_", "DAGSTER_"))}
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _LOAD],
            cwd=folder,
            env={**kept, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        whole = time.perf_counter() - started
    if done.returncode:
        raise StreamlakeError(f"the code location does not load: {done.stderr[-500:]}")
    found, times = json.loads(done.stdout)
    return found, {**times, "process_s": whole}


def _ticks(stack: Stack, say: Say) -> dict[str, dict[str, float]]:
    import dagster as dg

    from streamlake_assets.definitions import defs

    sample = bokeh_sample.load().bars
    stored = StoredPlaces(stack.engine, stack.settings.kafka)
    _store(stack, stored, sample)
    repository = defs().get_repository_def()
    found: dict[str, list[float]] = {}
    with dg.DagsterInstance.from_config(str(dagster_home(stack.settings))) as instance:
        ticker = _Ticker(stack, repository, instance)
        for number in range(TICKS + 1):
            if number:
                bar, later = sample[-1], dt.timedelta(days=number)
                changed = msgspec.structs.replace(bar, volume=(bar.volume or 0) + number, as_of=bar.as_of + later)
                _store(stack, stored, [changed])
            for sensor in repository.sensor_defs:
                found.setdefault(sensor.name, []).append(ticker.sensor(sensor))
            for schedule in repository.schedule_defs:
                found.setdefault(schedule.name, []).append(ticker.schedule(schedule))
    spreads = {name: {"first": round(values[0], 3), **spread(values[1:]).rounded(3)} for name, values in found.items()}
    say(f"{NAME}, ticks: {spreads}")
    return spreads


class _Ticker:
    """Evaluates what the daemon would ask for, and keeps cursors and events as it does."""

    def __init__(self, stack: Stack, repository: "dg.RepositoryDefinition", instance: "dg.DagsterInstance") -> None:
        self._stack = stack
        self._repository = repository
        self._instance = instance
        self._cursors: dict[str, str | None] = {}

    def sensor(self, sensor: "dg.SensorDefinition") -> float:
        """Evaluate a sensor; return how many seconds that took."""
        import dagster as dg

        def tick(stores: StoreAccess) -> Any:
            cursor, given = self._cursors.get(sensor.name), {"stores": stores}
            with dg.build_sensor_context(
                instance=self._instance, cursor=cursor, repository_def=self._repository, resources=given
            ) as context:
                return sensor(context)

        seconds, result = _timed(self._stack, tick)
        if isinstance(result, dg.SensorResult):
            self._cursors[sensor.name] = result.cursor
            for event in result.asset_events:
                self._instance.report_runless_asset_event(event)
        _check(sensor.name, result)
        return seconds

    def schedule(self, schedule: "dg.ScheduleDefinition") -> float:
        """Evaluate a schedule as if it were due now; return how many seconds that took."""
        import dagster as dg

        def tick(stores: StoreAccess) -> Any:
            with dg.build_schedule_context(
                instance=self._instance, scheduled_execution_time=stores.now(), resources={"stores": stores}
            ) as context:
                return schedule.evaluate_tick(context)

        return _timed(self._stack, tick)[0]


def _check(name: str, result: Any) -> None:
    """Judge the two sensors whose answer is known: each round has new messages and no run is in progress.

    Raises:
        WrongRunError: it was another.
    """
    if name == "raw_watermark":
        require(f"{NAME}, tables reported", len(getattr(result, "asset_events", ())), 4)
    if name == "refresh_needed":
        require(f"{NAME}, refreshes asked for", len(getattr(result, "run_requests", ())), 1)


def _store(stack: Stack, stored: StoredPlaces, bars: Sequence[Bar]) -> None:
    with Publisher(stack.settings.kafka) as publisher:
        publish(publisher, bars)
    stored.wait(publisher.places)


def _timed(stack: Stack, tick: Callable[[StoreAccess], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    stores = StoreAccess(stack.settings)
    try:
        result = tick(stores)
    finally:
        stores.close()
    return time.perf_counter() - started, result
