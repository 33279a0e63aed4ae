"""Every class of planted fault is found in the tables, or its messages are dead letters; a clean market has none."""

import datetime as dt
from itertools import count
from pathlib import Path

import msgspec
import pytest

from streamlake_assets.commands.simulate import Simulation
from streamlake_assets.flows.detection import Detected, Score, detect, read_manifest, read_refused, score
from streamlake_assets.market.messages import Message
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Interval
from streamlake_assets.sidecar.ingest import cut_slice
from streamlake_assets.sources.planted_faults import FaultPlan, Late, Skew, read_plan
from streamlake_assets.sources.simulated_market import MarketSpec
from streamlake_assets.sources.simulated_records import actions, messages
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets_tests.bars import ACTIONS_STREAM, BARS_STREAM, slice_of
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
NOW = dt.datetime(2026, 1, 5, tzinfo=UTC)
SPEC = MarketSpec(instruments=8, interval=Interval.M1, sessions=3, seed=5)
PLAN = """
gaps: {share: 0.005}
duplicates: {share: 0.005}
late: {share: 0.005, by: [minutes, hours]}
out_of_order: {share: 0.005}
stale: {share: 0.0025, bars: 5}
jumps: {share: 0.001, size: 0.5}
bad_fields: {share: 0.005}
clock_skew: {share: 0.005}
"""


def put(database: Database, simulation: Simulation, spec: MarketSpec) -> None:
    """Store what arrives, as the consumer does, in batches of one session each."""
    store = BarStore(database.writer, "simulation")
    offsets, acted = count(), 0
    for arriving in simulation:
        found = [] if arriving.session is None else list(actions(spec, arriving.session))
        if found:
            store.ingest([slice_of(found, acted, stream=ACTIONS_STREAM)])
            acted += len(found)
        batch = [
            Message(BARS_STREAM.topic, 0, next(offsets), message.key.encode(), message.value, NOW)
            for message in messages(spec, arriving.bars, NOW)
        ]
        part = cut_slice(BARS_STREAM, batch, batch[0].offset)
        assert part is not None
        store.ingest([part])
    store.close()


def found_in(database: Database, plan: FaultPlan | None, tmp_path: Path, spec: MarketSpec = SPEC) -> list[Score]:
    simulation = Simulation(spec, plan)
    put(database, simulation, spec)
    path = tmp_path / "faults.jsonl"
    path.write_bytes(b"\n".join(map(msgspec.json.encode, simulation.manifest())))
    return score(detect(database.writer), read_refused(database.writer), read_manifest(path))


def test_every_class_is_found_and_nothing_else_is(database: Database, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    scores = {one.fault: one for one in found_in(database, read_plan(tmp_path / "plan.yaml"), tmp_path)}
    assert all(one.planted for one in scores.values()), "each class is there"
    recalls = {name: one.recall for name, one in scores.items()}
    # a bar that is late by minutes at the end of a session still comes before the next bar: nothing shows it
    late = scores["late"].by_detail
    assert late["hours"][0] >= late["hours"][1] >= 0.6 * late["hours"][0]
    assert late["minutes"][1] >= 0.9 * late["minutes"][0]
    assert all(recalls[name] == 1.0 for name in recalls.keys() - {"late", "jumps", "out_of_order"}), recalls
    assert recalls["jumps"] is not None and recalls["jumps"] >= 0.9
    assert recalls["out_of_order"] is not None and recalls["out_of_order"] >= 0.95
    assert {name: one.false_alarms for name, one in scores.items() if one.false_alarms} == {}


@pytest.mark.parametrize("interval", [Interval.M5, Interval.D1])
def test_a_clean_market_with_splits_and_dividends_raises_no_alarm(database: Database, interval: Interval) -> None:
    spec = MarketSpec(instruments=20, interval=interval, sessions=12 if interval is Interval.M5 else 80, seed=9)
    put(database, Simulation(spec, None), spec)
    found = detect(database.writer)
    assert found.bars > 1_000
    refused = read_refused(database.writer)
    assert (found.anomalies, refused.repeated, sum(refused.dead.values())) == ([], 0, 0)


def test_only_the_newest_sessions_are_judged_when_asked(database: Database, tmp_path: Path) -> None:
    simulation = Simulation(SPEC, FaultPlan(late=Late(), clock_skew=Skew()))
    put(database, simulation, SPEC)
    whole, newest = detect(database.writer), detect(database.writer, sessions=1)
    assert isinstance(newest, Detected)
    assert (whole.bars, newest.bars) == (8 * 390 * 3, 8 * 390)
