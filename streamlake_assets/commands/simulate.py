"""``streamlake simulate``: a made market into a file or onto the topics, with its planted faults and their manifest.

Belongs here: the command without its command line. Stays out: the market (``sources.simulated_market``), its faults
(``sources.planted_faults``), options (``simulate_app``).
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import pyarrow.csv as arrow_csv

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import ensure_topics
from streamlake_assets.commands.data import require_servers, wait_stored
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, encode_action
from streamlake_assets.market.sessions import from_microseconds
from streamlake_assets.market.types import Interval
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.replay import now
from streamlake_assets.sources.planted_faults import FaultPlan, FaultPlanter, FaultyBars, faultless, in_order
from streamlake_assets.sources.simulated_market import Floats, MarketSpec, SessionBars, simulate
from streamlake_assets.sources.simulated_records import CsvColumns, actions, messages

_TICK_S: Final = 0.005


class Arriving(NamedTuple):
    """What arrives while a session is on; ``session`` is None for what comes after the last."""

    session: SessionBars | None
    bars: FaultyBars


class Simulation:
    """A made market with its faults, session by session; ``manifest`` grows as it is read."""

    def __init__(self, spec: MarketSpec, plan: FaultPlan | None) -> None:
        """Make a simulation; nothing is computed yet."""
        self._spec = spec
        self._planter = None if plan is None else FaultPlanter(plan, spec.seed, spec.instruments)

    def __iter__(self) -> Iterator[Arriving]:
        """Yield what arrives, session by session."""
        planter = self._planter
        for session in simulate(self._spec):
            yield Arriving(session, faultless(session) if planter is None else planter.plant(session))
        rest = None if planter is None else planter.rest()
        if rest is not None:
            yield Arriving(None, rest)

    def manifest(self) -> Iterator[dict[str, str]]:
        """Yield every planted fault so far, by bar."""
        symbols = self._spec.symbols
        for one in in_order([] if self._planter is None else self._planter.manifest):
            yield {
                "fault": one.fault,
                "symbol": symbols[one.instrument],
                "exchange": self._spec.exchange,
                "interval": self._spec.interval.value,
                "bar_time": from_microseconds(one.start).isoformat(),
                "detail": one.detail,
            }


def simulate_to_file(spec: MarketSpec, plan: FaultPlan | None, path: Path, say: Say) -> dict[str, Any]:
    """Write a made market as CSV, its corporate actions and its manifest beside it.

    Args:
        spec: the market.
        plan: faults; their clock skew cannot be seen in a file, which has no ``event_time``.
        path: of the CSV file; an existing one is replaced.
        say: takes progress.

    Returns:
        Bars, seconds, files, faults by class.

    Raises:
        UsageError: the calendar does not hold so many sessions.
    """
    started = time.perf_counter()
    simulation, columns = Simulation(spec, plan), CsvColumns(spec)
    actions_path, bars = path.with_name(f"{path.name}.actions.csv"), 0
    adjusted = np.ones(spec.instruments)
    factors: dict[int, Floats] | None = {} if spec.interval is Interval.D1 else None
    say(f"simulating {spec.sessions} sessions of {spec.instruments} instruments into {path}")
    with (
        arrow_csv.CSVWriter(path, columns.schema, write_options=arrow_csv.WriteOptions(quoting_style="needed")) as file,
        actions_path.open("w") as others,
    ):
        others.write("symbol,ex_date,kind,factor\n")
        for arriving in simulation:
            for action in _actions(spec, arriving):
                others.write(f"{action.symbol},{action.ex_date},{action.kind.value},{action.factor}\n")
            if factors is not None and arriving.session is not None:
                # forwards from the first session: only ratios of adjusted closes mean something
                for planted in arriving.session.actions:
                    adjusted[planted.instrument] /= float(planted.factor)
                factors[int(arriving.session.start[0])] = adjusted.copy()
            file.write_table(columns.table(arriving.bars, factors))
            bars += len(arriving.bars.start)
    return {
        "bars": bars,
        "seconds": round(time.perf_counter() - started, 3),
        "file": str(path),
        "actions_file": str(actions_path),
        **_write_manifest(simulation, path.with_name(f"{path.name}.faults.jsonl"), plan),
    }


def simulate_to_kafka(
    settings: Settings,
    spec: MarketSpec,
    plan: FaultPlan | None,
    rate: float | None,
    manifest: Path,
    wait: bool,
    say: Say,
) -> dict[str, Any]:
    """Publish a made market: corporate actions of a session first, then its bars in the order of their arrival.

    Args:
        settings: where the servers are.
        spec: the market.
        plan: faults.
        rate: bars in a second; None: as fast as they go.
        manifest: where planted faults are written.
        wait: return when the tables hold everything.
        say: takes progress.

    Raises:
        UsageError: the calendar does not hold so many sessions.
        SettingError: a configured server does not answer.
        TryLaterError: Kafka, or with ``wait`` the consumer, does not take the messages.
    """
    require_servers(settings, "kafka", *(["mysql"] if wait else []))
    ensure_topics(settings.kafka, (BARS_TOPIC, ACTIONS_TOPIC))
    started = time.perf_counter()
    simulation, sent, acted = Simulation(spec, plan), 0, 0
    say(f"publishing {spec.sessions} sessions of {spec.instruments} instruments to {settings.kafka}")
    with Publisher(settings.kafka) as publisher:
        for arriving in simulation:
            for action in _actions(spec, arriving):
                publisher.send(ACTIONS_TOPIC, action.symbol, encode_action(action, now()))
                acted += 1
            for piece in _pieces(arriving.bars, rate):
                if rate is not None:
                    time.sleep(max(0.0, started + sent / rate - time.perf_counter()))
                for message in messages(spec, piece, now()):
                    publisher.send(BARS_TOPIC, message.key, message.value)
                sent += len(piece.start)
        publisher.flush()
        took = time.perf_counter() - started
    # before the wait: what was published must be known whatever the consumer does
    written = _write_manifest(simulation, manifest, plan)
    if wait:
        wait_stored(settings, publisher, say)
    return {
        "bars": sent,
        "actions": acted,
        "seconds": round(took, 3),
        "stored": wait,
        **written,
    }


def _actions(spec: MarketSpec, arriving: Arriving) -> Iterable[Any]:
    return () if arriving.session is None else actions(spec, arriving.session)


def _pieces(bars: FaultyBars, rate: float | None) -> Iterator[FaultyBars]:
    """Cut bars into what is sent at one moment."""
    size = 1_000 if rate is None else max(1, int(rate * _TICK_S))
    for first in range(0, len(bars.start), size):
        yield FaultyBars(*(column[first : first + size] for column in bars))


def _write_manifest(simulation: Simulation, path: Path, plan: FaultPlan | None) -> dict[str, Any]:
    if plan is None:
        return {"faults": {}, "manifest": None}
    counts: dict[str, int] = {}
    with path.open("wb") as file:
        for fault in simulation.manifest():
            counts[fault["fault"]] = counts.get(fault["fault"], 0) + 1
            file.write(msgspec.json.encode(fault) + b"\n")
    return {"faults": counts, "manifest": str(path)}
