"""Planted faults: what the manifest says is what happened to the bars, and nothing else did."""

import datetime as dt
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamlake_assets.commands.simulate import Simulation
from streamlake_assets.errors import BadRecordError, UsageError
from streamlake_assets.market.contract import Reason, decode_bar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Interval
from streamlake_assets.sources.planted_faults import (
    BAD_FIELDS,
    CLASSES,
    FaultPlan,
    FaultPlanter,
    FaultyBars,
    Planted,
    read_plan,
)
from streamlake_assets.sources.simulated_market import MarketSpec, simulate
from streamlake_assets.sources.simulated_records import messages

NOW = dt.datetime(2026, 1, 5, tzinfo=UTC)
SPEC = MarketSpec(instruments=4, interval=Interval.M5, sessions=4, seed=11)
Key = tuple[int, int]


def plan(text: str, tmp_path: Path) -> FaultPlan:
    path = tmp_path / "faults.yaml"
    path.write_text(text)
    return read_plan(path)


def run(found: FaultPlan, spec: MarketSpec = SPEC) -> tuple[list[Planted], list[FaultyBars]]:
    planter = FaultPlanter(found, spec.seed, spec.instruments)
    arrived = [planter.plant(one) for one in simulate(spec)]
    rest = planter.rest()
    return planter.manifest, arrived if rest is None else [*arrived, rest]


def rows(arrived: list[FaultyBars]) -> list[tuple[int, ...]]:
    return [tuple(row) for one in arrived for row in np.column_stack(one).tolist()]


def keys(arrived: list[FaultyBars]) -> list[Key]:
    return [(row[0], row[1]) for row in rows(arrived)]


def planted(manifest: list[Planted]) -> list[Key]:
    return [(one.instrument, one.start) for one in manifest]


def clean() -> dict[Key, tuple[int, ...]]:
    return {(row[0], row[1]): row for row in rows(run(FaultPlan())[1])}


def test_without_shares_nothing_is_changed() -> None:
    manifest, arrived = run(FaultPlan())
    assert manifest == []
    assert keys(arrived) == [
        (int(n), int(t)) for one in simulate(SPEC) for n, t in zip(one.instrument, one.start, strict=True)
    ]


def test_gaps_are_left_out(tmp_path: Path) -> None:
    manifest, arrived = run(plan("gaps: {share: 0.1}", tmp_path))
    assert manifest and set(planted(manifest)) == clean().keys() - set(keys(arrived))


def test_duplicates_come_twice_and_are_equal(tmp_path: Path) -> None:
    manifest, arrived = run(plan("duplicates: {share: 0.1}", tmp_path))
    twice = [key for key, count in Counter(keys(arrived)).items() if count == 2]
    assert manifest and sorted(twice) == sorted(planted(manifest))
    assert set(rows(arrived)) == set(clean().values())


def test_out_of_order_bars_come_just_after_the_next_one(tmp_path: Path) -> None:
    manifest, arrived = run(plan("out_of_order: {share: 0.1}", tmp_path))
    order = keys(arrived)
    assert manifest
    for instrument, start in planted(manifest):
        own = [when for number, when in order if number == instrument]
        assert own[own.index(start) - 1] > start
        assert sorted(own).index(start) + 1 == sorted(own).index(own[own.index(start) - 1])
    moved = sum(a > b for number in range(SPEC.instruments) for a, b in _pairs(order, number))
    assert moved == len(manifest)


def _pairs(order: list[Key], number: int) -> list[tuple[int, int]]:
    own = [when for one, when in order if one == number]
    return list(pairwise(own))


def test_late_bars_come_when_their_delay_is_over(tmp_path: Path) -> None:
    manifest, arrived = run(plan("late: {share: 0.05, by: [minutes, hours, days]}", tmp_path))
    assert {one.detail for one in manifest} == {"minutes", "hours", "days"}
    assert sorted(rows(arrived)) == sorted(clean().values()), "nothing is lost, also what is late at the end"
    days = {(one.instrument, one.start) for one in manifest if one.detail == "days"}
    session_of = {
        key: number for number, one in enumerate(simulate(SPEC)) for key in zip(one.instrument, one.start, strict=True)
    }
    came = {key: number for number, one in enumerate(arrived) for key in keys([one])}
    assert all(came[key] > session_of[key] for key in days)


def test_a_hanging_feed_repeats_the_bar_before_it_over_the_end_of_a_session(tmp_path: Path) -> None:
    manifest, arrived = run(plan("stale: {share: 0.3, bars: 30}", tmp_path))
    found = {(row[0], row[1]): row[3:8] for row in rows(arrived)}
    order = sorted(found)
    assert len(manifest) > 30
    for key in planted(manifest):
        before = order[order.index(key) - 1]
        assert before[0] == key[0] and found[key] == found[before]
    untouched = clean()
    assert all(found[key] == untouched[key][3:8] for key in found.keys() - set(planted(manifest)))


def test_jumps_move_all_four_prices(tmp_path: Path) -> None:
    manifest, arrived = run(plan("jumps: {share: 0.05, size: 0.5}", tmp_path))
    untouched = clean()
    found = {(row[0], row[1]): row for row in rows(arrived)}
    for key in planted(manifest):
        assert np.allclose(found[key][3:7], np.array(untouched[key][3:7]) * 1.5, atol=0.5)
    assert manifest and {key for key in found if found[key] != untouched[key]} == set(planted(manifest))


def test_bad_fields_break_the_contract_each_with_its_reason(tmp_path: Path) -> None:
    manifest, arrived = run(plan("bad_fields: {share: 0.2}\nclock_skew: {share: 0.1, seconds: 7200}", tmp_path))
    reasons: dict[str, set[Reason]] = {}
    said = {(one.instrument, one.start): one.detail for one in manifest}
    for one in arrived:
        for key, message in zip(keys([one]), messages(SPEC, one, NOW), strict=True):
            try:
                decode_bar(message.value, message.key.encode(), NOW)
            except BadRecordError as error:
                reasons.setdefault(said.pop(key), set()).add(error.reason)
    assert said == {}, "every planted bad message is refused"
    assert reasons == {
        "negative_price": {Reason.BAD_PRICE},
        "high_below_low": {Reason.PRICE_ORDER},
        "price_is_text": {Reason.BAD_PRICE},
        "price_is_missing": {Reason.BAD_FIELD},
        "bad_symbol": {Reason.BAD_SYMBOL},
        "bad_time": {Reason.BAD_TIME},
        "event_time ahead by 7200 s": {Reason.EVENT_TIME_AHEAD},
    }
    assert set(BAD_FIELDS) < set(reasons)


def test_shares_are_what_the_plan_says(tmp_path: Path) -> None:
    text = "\n".join(f"{name}: {{share: 0.02}}" for name in CLASSES)
    spec = replace(SPEC, instruments=100)
    manifest, _ = run(plan(text, tmp_path), spec)
    counts = Counter(one.fault for one in manifest)
    total = sum(len(one.start) for one in simulate(spec))
    # a hanging feed overrules other faults, and some are not planted where the bar beside is missing or late
    assert all(0.015 < counts[name] / total < 0.025 for name in CLASSES), counts
    assert len(set(planted(manifest))) == len(manifest), "at most one fault for a bar"


def test_the_same_seed_plants_the_same_faults(tmp_path: Path) -> None:
    found = plan("late: {share: 0.05}\nstale: {share: 0.05}\nbad_fields: {share: 0.01}", tmp_path)
    assert run(found)[0] == run(found)[0]
    assert rows(run(found)[1]) == rows(run(found)[1])
    assert run(found)[0] != run(found, replace(SPEC, seed=12))[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("gaps: {share: 0.9}", "gaps"),
        ("gap: {share: 0.1}", "gap"),
        ("late: {share: 0.1, by: [weeks]}", "weeks"),
        ("stale: {share: 0.1, bars: 1}", "bars"),
        ("gaps: {share: 0.4}\nlate: {share: 0.4}\njumps: {share: 0.4}", "add up to 1.2"),
        ("gaps: [", "faults.yaml"),
        ("gaps: 0.1", "gaps"),
    ],
)
def test_a_plan_that_is_not_understood_is_refused_by_name(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=word):
        plan(text, tmp_path)


def test_a_plan_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml"):
        read_plan(tmp_path / "none.yaml")


def test_a_simulation_names_what_it_planted_by_symbol(tmp_path: Path) -> None:
    simulation = Simulation(SPEC, plan("jumps: {share: 0.05}", tmp_path))
    bars = sum(len(one.bars.start) for one in simulation)
    named = list(simulation.manifest())
    assert bars == len(clean())
    assert {one["symbol"] for one in named} <= set(SPEC.symbols)
    assert [one["bar_time"] for one in named] == sorted(one["bar_time"] for one in named)
