"""Training again: when it pays, with a reason; a replay that drifts retrains soon, a calm one never."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.drift import WINDOW_DATES, drift_report
from streamlake_assets.market.gate import DateLosses, date_losses
from streamlake_assets.market.retraining import (
    LEAST_GAIN,
    LEAST_NEW_DATES,
    MIN_LIVE_DATES,
    RetrainDecision,
    RetrainFacts,
    SkillDecay,
    decide_retraining,
    learning_gain,
    skill_decay,
)
from streamlake_assets.market.series import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]
CALM = RetrainFacts(trained=True, new_dates=20, train_rows=10_000, new_rows=100, parameters=6, training_seconds=3.0)
SUSPECTED = SkillDecay(dates=40, expected=0.03, least=0.01, live=-0.02, z=2.0)
SURE = replace(SUSPECTED, z=4.0)


def made_losses(live: float, count: int, seed: int = 0) -> DateLosses:
    """Losses of ``count`` dates whose skill is about ``live``."""
    baseline = np.random.default_rng(seed).chisquare(5, count) / 5
    noise = np.random.default_rng(seed + 1).normal(0, 0.1, count)
    return DateLosses(np.arange(count, dtype=np.int64), baseline * (1 - live) + noise + 1, baseline + 1)


def test_what_was_never_trained_is_trained() -> None:
    found = decide_retraining(RetrainFacts(trained=False))
    assert (found.retrain, found.reason, found.expected_gain, found.compute_cost_s) == (
        True,
        "never trained",
        None,
        None,
    )


def test_a_changed_spec_or_code_is_trained_even_without_new_data() -> None:
    found = decide_retraining(replace(CALM, changed="features of the spec", new_dates=0))
    assert found.retrain
    assert "features of the spec" in found.reason


def test_a_calm_model_is_left_alone_and_the_decision_says_what_it_knows() -> None:
    found = decide_retraining(CALM)
    assert not found.retrain
    assert found.expected_gain == pytest.approx(6 / 10_000 - 6 / 10_100)
    assert found.compute_cost_s == 3.0
    assert found.facts is CALM
    assert "does not pay" in found.reason


def test_decay_needs_to_be_sure_or_to_come_with_drift() -> None:
    assert not decide_retraining(replace(CALM, decay=SUSPECTED)).retrain
    drifted = decide_retraining(replace(CALM, drifted=("range_1",)))
    assert not drifted.retrain
    assert "range_1" in drifted.reason
    assert not decide_retraining(replace(CALM, drifted=("range_1",), decay=replace(SUSPECTED, z=0.5))).retrain
    both = decide_retraining(replace(CALM, decay=SUSPECTED, drifted=("range_1",)))
    assert both.retrain
    assert both.expected_gain == pytest.approx(0.05)
    assert "range_1" in both.reason
    assert decide_retraining(replace(CALM, decay=SURE)).retrain


def test_a_day_after_training_nothing_is_trained_again() -> None:
    few = replace(CALM, new_dates=LEAST_NEW_DATES - 1, decay=SURE, max_age_dates=1)
    assert not decide_retraining(few).retrain
    assert decide_retraining(replace(few, new_dates=LEAST_NEW_DATES)).retrain


def test_models_get_no_older_than_those_that_were_judged() -> None:
    assert not decide_retraining(replace(CALM, new_dates=62, max_age_dates=63)).retrain
    found = decide_retraining(replace(CALM, new_dates=63, max_age_dates=63))
    assert found.retrain
    assert "63 dates old" in found.reason


def test_more_rows_pay_for_a_young_model_and_not_for_an_old_one() -> None:
    young = replace(CALM, train_rows=1260, new_rows=315)
    assert decide_retraining(young).retrain
    assert decide_retraining(young).expected_gain == pytest.approx(learning_gain(6, 1260, 315))
    assert not decide_retraining(replace(young, parameters=None)).retrain
    assert not decide_retraining(replace(young, train_rows=50_000)).retrain


def test_a_dear_training_has_to_bring_more() -> None:
    young = replace(CALM, train_rows=1260, new_rows=315)
    gain = learning_gain(6, 1260, 315)
    assert decide_retraining(replace(young, training_seconds=0.9 * 60 * gain / LEAST_GAIN)).retrain
    assert not decide_retraining(replace(young, training_seconds=1.1 * 60 * gain / LEAST_GAIN)).retrain
    assert not decide_retraining(replace(CALM, decay=SURE, training_seconds=24 * 3600.0)).retrain


def test_more_rows_help_least_squares_as_much_as_stated() -> None:
    """Excess squared error of 6 coefficients of pure noise: fitted on 300 rows against 600 rows."""
    rng = np.random.default_rng(1)
    excess = {}
    for rows in (300, 600):
        x, y = rng.normal(size=(800, rows, 6)), rng.normal(size=(800, rows, 1))
        fitted = np.linalg.solve(np.swapaxes(x, 1, 2) @ x, np.swapaxes(x, 1, 2) @ y)
        excess[rows] = float((fitted**2).sum(axis=(1, 2)).mean())
    assert excess[300] - excess[600] == pytest.approx(learning_gain(6, 300, 300), rel=0.2)


def test_decay_is_told_from_ordinary_error() -> None:
    history = made_losses(0.03, 500, seed=50)
    same, worse = skill_decay(history.rows(slice(0, 100)), history), skill_decay(made_losses(-0.2, 60), history)
    assert not same.suspected
    assert not same.sure
    assert same.least < same.expected == history.skill
    missing = history.model[:100] - (1 - same.least) * history.baseline[:100]
    assert same.z == pytest.approx(missing.mean() / missing.std(ddof=1) * 10)
    assert worse.suspected
    assert worse.sure
    assert worse.shortfall == pytest.approx(history.skill - made_losses(-0.2, 60).skill)
    early = skill_decay(made_losses(-0.2, MIN_LIVE_DATES - 1), history)
    assert early.z > 3.5
    assert not (early.suspected or early.sure)
    none = skill_decay(made_losses(0.0, 0), history)
    assert (none.live, none.shortfall, none.suspected, none.sure) == (history.skill, 0.0, False, False)


def test_decay_is_seldom_sure_without_any_though_looked_at_again_and_again() -> None:
    history = made_losses(0.02, 500, seed=1000)
    sure = 0
    for seed in range(0, 120, 2):
        live = made_losses(history.skill, 120, seed)
        sure += any(skill_decay(live.rows(slice(0, n)), history).sure for n in range(MIN_LIVE_DATES, 121, 9))
    assert sure / 60 <= 0.05


@pytest.mark.parametrize(
    "wrong", [{"trained": True, "train_rows": 0}, {"trained": True, "train_rows": 5, "new_dates": -1}]
)
def test_facts_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        RetrainFacts(**wrong)  # type: ignore[arg-type]


def world(seed: int, count: int, change: int | None) -> tuple[IntArray, FloatArray, FloatArray]:
    """Five instruments whose target follows two features; from date ``change`` on, both move and the relation turns."""
    rng = np.random.default_rng(seed)
    sessions = np.repeat(np.arange(count, dtype=np.int64), 5)
    after = sessions >= (count if change is None else change)
    x = rng.normal(size=(len(sessions), 2)) + np.where(after, 1.5, 0.0)[:, None]
    slope = np.where(after, -0.3, 0.3)
    return sessions, x, slope * x[:, 0] + rng.normal(size=len(sessions))


def replay(seed: int, count: int, change: int | None, *, trained: int = 400) -> tuple[int, RetrainDecision | None]:
    """Train after ``trained`` dates, look every fifth date, and return the date and decision that retrains, if any."""
    sessions, x, y = world(seed, count, change)

    def fit(rows: BoolArray) -> FloatArray:
        found: FloatArray = np.linalg.lstsq(x[rows], y[rows], rcond=None)[0]
        return found

    def losses(rows: BoolArray, coefficients: FloatArray) -> DateLosses:
        ones = np.ones(int(rows.sum()))
        return date_losses(sessions[rows], y[rows], x[rows] @ coefficients, 0 * ones, ones)

    train, half = sessions < trained, sessions < trained // 2
    history, coefficients = losses(train & ~half, fit(half)), fit(train)
    for today in range(trained + 5, count, 5):
        new = (sessions >= trained) & (sessions < today)
        facts = RetrainFacts(
            trained=True,
            new_dates=today - trained,
            train_rows=int(train.sum()),
            new_rows=int(new.sum()),
            drifted=drift_report(("a", "b"), x[train], sessions[train], x[new], sessions[new]).drifted,
            decay=skill_decay(losses(new, coefficients), history),
            training_seconds=1.0,
        )
        decision = decide_retraining(facts)
        if decision.retrain:
            return today, decision
    return count, None


@pytest.mark.parametrize("seed", range(5))
def test_a_replay_that_drifts_trains_again_within_two_windows(seed: int) -> None:
    day, decision = replay(seed, 600, 500)
    assert 500 < day <= 500 + 2 * WINDOW_DATES + 5
    assert decision is not None
    assert decision.expected_gain is not None
    assert decision.expected_gain > LEAST_GAIN
    assert decision.compute_cost_s == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_a_calm_replay_never_trains_again(seed: int) -> None:
    assert replay(seed, 700, None) == (700, None)
