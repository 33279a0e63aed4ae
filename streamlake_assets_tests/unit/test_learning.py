"""Learning: honest skill, the same model for the same data, version 0 whenever nothing is better."""

import dataclasses
import datetime as dt
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.engines import engine
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.serve import ServingModel, champion_order, forecast_next, load_champion
from streamlake_assets.learning.spec import baseline_spec, default_specs, model_version
from streamlake_assets.learning.train import train
from streamlake_assets.learning.walk_forward import walk_forward
from streamlake_assets.market.calendars import next_session
from streamlake_assets.market.forecasts import issue, realised, score
from streamlake_assets.market.frames import training_frame
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.signals import signals_from
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.learning_runs import TrainingRun, train_all
from streamlake_assets_tests.series_data import (
    NOW,
    bokeh_series,
    planted_range,
    planted_return,
    random_walk,
    random_walks,
)

OFFSETS = {"finance-data/0": 41}


def run_on(series: list[SessionSeries] | tuple[SessionSeries, ...], until: dt.date | None = None) -> TrainingRun:
    return train_all(series, until=until, offsets=OFFSETS)


def trained(run: TrainingRun, target: Target) -> Manifest:
    return next(m for m in run.manifests if m.target is target and not m.is_version_zero)


def version_zero(run: TrainingRun, target: Target) -> Manifest:
    return next(m for m in run.manifests if m.target is target and m.is_version_zero)


def serving(run: TrainingRun, target: Target) -> ServingModel:
    """The champion of a run, without a folder in between."""
    best = champion_order(target, run.manifests)[0]
    return next(ServingModel(best, m.fitted) for m in run.models if m.manifest == best)


@pytest.fixture(scope="module")
def real_run() -> TrainingRun:
    """The real bars up to the session before the 60 that the live part holds back."""
    last = max(bokeh_series(), key=len).sessions[-61]
    return run_on(bokeh_series(), from_ordinal(last))


def test_on_real_bars_no_skill_is_claimed_on_the_return(real_run: TrainingRun) -> None:
    manifest = trained(real_run, Target.ADJUSTED_RETURN)
    assert manifest.skill_low < 0
    assert not manifest.has_skill
    assert abs(manifest.skill) < 0.01
    assert serving(real_run, Target.ADJUSTED_RETURN).version == version_zero(real_run, Target.ADJUSTED_RETURN).version


def test_on_real_bars_the_range_is_forecast_better_than_its_average(real_run: TrainingRun) -> None:
    """Measured: 3.1 % over the average with decay 0.8, 95 % interval 1.7 % to 4.6 %, over 2,895 dates."""
    manifest = trained(real_run, Target.LOG_RANGE)
    assert manifest.has_skill
    assert 0.01 < manifest.skill_low < manifest.skill < manifest.skill_high < 0.06
    assert serving(real_run, Target.LOG_RANGE).version == manifest.version


def test_the_baseline_of_the_range_is_the_strongest_of_its_family() -> None:
    """Skill over a weak average would be no news: no other decay may beat the one in use by a tenth of the skill."""
    errors = {}
    for decay in (0.7, 0.8, 0.85, 0.9, 0.94, 0.97):
        squared = []
        for series in bokeh_series():
            ranges = np.log(series.high / series.low)
            windows = np.lib.stride_tricks.sliding_window_view(ranges, 60)[:-1]
            weights = decay ** np.arange(60)[::-1]
            squared.append((ranges[60:] - windows @ (weights / weights.sum())) ** 2)
        errors[decay] = float(np.concatenate(squared).mean())
    assert min(errors, key=lambda decay: errors[decay]) == 0.8


def test_the_held_back_sessions_are_forecast_before_and_scored_after(real_run: TrainingRun) -> None:
    """All 60 live sessions, five instruments, both champions: 600 scores; nine of ten intervals hold roughly."""
    champions = [serving(real_run, target) for target in Target]
    days = max(bokeh_series(), key=len).sessions[-60:]
    scores = []
    for day in days:
        revealed = from_ordinal(day)
        known = [s.until(revealed - dt.timedelta(days=1)) for s in bokeh_series()]
        forecasts = forecast_next(champions, known, lambda s: next_session(s.exchange, s.asset_class, s.last_session))
        assert {f.session for f in forecasts} == {revealed}
        whole = {s.symbol: s for s in bokeh_series()}
        scores += [score(f, realised(whole[f.symbol], f.target, revealed)) for f in forecasts]
        assert signals_from(forecasts).signals == ()
    assert len(scores) == 600
    for target in Target:
        assert 0.85 < np.mean([s.covered for s in scores if s.target is target]) <= 0.99


def test_a_random_walk_is_not_promoted() -> None:
    promoted = 0
    for seed in range(20):
        run = run_on(random_walks(500, seed, instruments=2))
        promoted += trained(run, Target.ADJUSTED_RETURN).has_skill
        assert trained(run, Target.ADJUSTED_RETURN).skill_low <= 0.01
    assert promoted <= 1


def test_a_planted_signal_in_the_range_is_found() -> None:
    run = run_on([planted_range(700, s, f"S{s}") for s in range(3)])
    manifest = trained(run, Target.LOG_RANGE)
    assert manifest.skill_low > 0.3
    assert not trained(run, Target.ADJUSTED_RETURN).has_skill


def test_a_planted_signal_in_the_return_is_found() -> None:
    run = run_on([planted_return(900, s, f"S{s}") for s in range(3)])
    manifest = trained(run, Target.ADJUSTED_RETURN)
    assert manifest.has_skill
    assert manifest.skill == pytest.approx(0.25**2, abs=0.03)
    assert manifest.direction_accuracy is not None
    assert manifest.direction_base_rate is not None
    assert manifest.direction_accuracy > manifest.direction_base_rate + 0.03


def test_the_same_data_spec_and_seed_give_the_same_model() -> None:
    series = random_walks(400, 3)
    first, second = run_on(series), run_on(list(reversed(series)))
    for a, b in zip(first.manifests, second.manifests, strict=True):
        assert msgspec.structs.replace(a, training_seconds=0) == msgspec.structs.replace(b, training_seconds=0)


def test_the_version_changes_with_data_spec_and_seed_only() -> None:
    spec = default_specs()[-1]
    known = model_version("data", spec)
    assert model_version("data", msgspec.structs.replace(spec)) == known
    assert model_version("other", spec) != known
    assert model_version("data", msgspec.structs.replace(spec, seed=1)) != known
    assert model_version("data", msgspec.structs.replace(spec, features=spec.features[::-1])) != known
    assert model_version("data", baseline_spec(Target.LOG_RANGE)).startswith("0-")


def test_a_shuffled_order_of_hyper_parameters_is_the_same_spec() -> None:
    spec = default_specs()[-1]
    turned = msgspec.structs.replace(spec, params=dict(reversed(list(spec.params.items()))))
    assert turned.digest() == spec.digest()


def test_what_is_out_of_fold_never_saw_its_own_date() -> None:
    """Change the targets of the last tested dates: no forecast before or of them may move."""
    frame = training_frame(random_walks(450, 5), None, 63)
    spec = default_specs()[-1]
    last = frame.sessions >= np.unique(frame.sessions)[-5]
    moved = {t: np.where(last, y * 3 + 0.01, y) for t, y in frame.y.items()}
    before = walk_forward(spec, engine(spec.engine), frame)
    after = walk_forward(spec, engine(spec.engine), dataclasses.replace(frame, y=moved))
    np.testing.assert_array_equal(before.forecast, after.forecast)
    assert before.skill != after.skill


def test_the_manifest_says_where_the_model_comes_from(real_run: TrainingRun) -> None:
    manifest = trained(real_run, Target.LOG_RANGE)
    assert manifest.offsets == OFFSETS
    assert manifest.last_session == dt.date(2012, 12, 3)
    assert manifest.rows == 11_539
    assert set(manifest.library_versions) == {"python", "numpy", "scikit-learn", "skops"}
    assert read_manifest(manifest.to_dict() | {"files": {}}) == manifest


@pytest.mark.parametrize(
    "change",
    [
        {"spec_hash": "0" * 64},
        {"engine": "baseline"},
        {"target": "adjusted_return"},
        {"quantile": "wide"},
        {"spec": {}},
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(real_run: TrainingRun, change: dict[str, object]) -> None:
    with pytest.raises(ModelRefusedError):
        read_manifest(trained(real_run, Target.LOG_RANGE).to_dict() | change)


def test_version_zero_is_made_even_where_no_model_can_be_judged() -> None:
    run = run_on(random_walks(150, 8))
    assert [m.is_version_zero for m in run.manifests] == [True, True]
    assert all("judging it needs more than 252" in reason for reason in run.not_trained)
    assert len(run.not_trained) == 2
    forecasts = forecast_next(
        [serving(run, t) for t in Target], random_walks(150, 8), lambda s: s.last_session + dt.timedelta(days=1)
    )
    assert len(forecasts) == 6
    assert all(f.point == f.baseline and f.low < f.high and not f.has_skill for f in forecasts)


def test_a_spec_that_cannot_be_judged_is_not_trained_directly_either() -> None:
    frame = training_frame(random_walks(150, 8), None, 63)
    with pytest.raises(UsageError, match="judging it needs"):
        train(frame, "hash", default_specs(), offsets={}, trained_at=NOW)


def test_version_zero_has_a_calibrated_interval_too() -> None:
    run = run_on(random_walks(500, 9))
    manifest = version_zero(run, Target.ADJUSTED_RETURN)
    assert (manifest.skill, manifest.skill_low, manifest.skill_high, manifest.has_skill) == (0, 0, 0, False)
    assert manifest.quantile == pytest.approx(1.645, abs=0.15)


def test_instruments_without_enough_history_are_left_out_of_the_forecasts() -> None:
    run = run_on(random_walks(500, 9))
    young = random_walk(62, 1, "YOUNG")
    made = forecast_next(
        [serving(run, Target.LOG_RANGE)], [young, random_walk(63, 2, "OLD")], lambda s: dt.date(2020, 1, 2)
    )
    assert [f.symbol for f in made] == ["OLD"]


def order_of(*manifests: Manifest) -> list[str]:
    return [m.version for m in champion_order(Target.LOG_RANGE, manifests)]


def test_the_newest_data_decide_and_version_zero_stands_behind() -> None:
    run = run_on([planted_range(500, s, f"S{s}") for s in range(2)])
    model, zero = trained(run, Target.LOG_RANGE), version_zero(run, Target.LOG_RANGE)
    older = msgspec.structs.replace(model, version="m-older", last_session=dt.date(2001, 1, 1), data_hash="older")
    later = NOW + dt.timedelta(days=1)
    worse = msgspec.structs.replace(model, version="m-worse", skill=model.skill / 2, trained_at=later)
    failed = msgspec.structs.replace(model, version="m-failed", has_skill=False)
    assert order_of(older, zero, worse, failed, model) == [model.version, "m-worse", zero.version, "m-older"]
    assert order_of(older, zero, failed) == [zero.version, "m-older"]


def test_nothing_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train first"):
        load_champion(Target.LOG_RANGE, [], lambda _: tmp_path)


def test_issued_points_equal_the_walk_forward_of_the_same_rows(real_run: TrainingRun) -> None:
    """What is judged is what is issued: the served point of a known date, from the model fitted on everything."""
    model, series = serving(real_run, Target.LOG_RANGE), bokeh_series()[0].until(dt.date(2012, 11, 30))
    frame = real_run.frame
    (row,) = np.flatnonzero((frame.sessions == series.sessions[-1]) & (frame.instrument == 0))
    expected = model.predict(frame.columns(model.features)[[row]])[0] * frame.scale[Target.LOG_RANGE][row]
    assert issue(model, series, dt.date(2012, 12, 3)).point == pytest.approx(expected, rel=1e-12)
