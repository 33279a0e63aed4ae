"""The gate: noise does not open it, skill does; evidence goes on where it stopped; champions change for a reason."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from streamlake_assets.errors import IntegrityError, UsageError
from streamlake_assets.market.gate import (
    GAIN_LIMIT,
    LEAST_LEFT,
    WARM_UP,
    Challenger,
    DateLosses,
    Evidence,
    date_losses,
    decide,
    family_log_e,
    log_e_paths,
    not_worse,
    update,
)
from streamlake_assets.market.series import FloatArray

PASS = float(-np.log(0.05))
ZERO = "return_baseline"


def losses(difference: FloatArray, first: int = 0, baseline: float = 10.0) -> DateLosses:
    dates = np.arange(first, first + len(difference), dtype=np.int64)
    return DateLosses(dates, baseline - difference, np.full(len(difference), baseline))


def skilled(seed: int, ratio: float = 0.2, count: int = 1000, first: int = 0) -> DateLosses:
    return losses(np.random.default_rng(seed).normal(ratio, 1.0, count), first)


def challenger(name: str, of: DateLosses) -> Challenger:
    return Challenger(name, update(Evidence(), of), of)


def test_losses_are_means_over_the_instruments_of_a_date_in_model_units() -> None:
    found = date_losses(
        np.array([7, 5, 5], dtype=np.int64),
        truth=np.array([1.0, 2.0, 4.0]),
        forecast=np.array([0.0, 1.0, 3.0]),
        baseline=np.zeros(3),
        scale=np.array([1.0, 1.0, 2.0]),
    )
    np.testing.assert_array_equal(found.sessions, [5, 7])
    np.testing.assert_allclose(found.model, [(1 + 0.25) / 2, 1.0])
    np.testing.assert_allclose(found.baseline, [(4 + 4) / 2, 1.0])
    assert found.skill == pytest.approx(1 - 1.625 / 5)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_a_scale_that_scales_nothing_is_refused(scale: float) -> None:
    one = np.ones(1)
    with pytest.raises(UsageError, match="positive scales"):
        date_losses(np.zeros(1, dtype=np.int64), one, one, one, np.array([scale]))


@pytest.mark.parametrize(
    ("sessions", "loss"), [([0, 0], [1.0, 1.0]), ([1, 0], [1.0, 1.0]), ([0, 1], [1.0, np.nan]), ([0, 1], [1.0])]
)
def test_dates_count_once_in_order_and_with_a_number(sessions: list[int], loss: list[float]) -> None:
    with pytest.raises(UsageError):
        DateLosses(np.array(sessions, dtype=np.int64), np.array(loss), np.ones(2))


def test_evidence_grows_with_skill_and_shrinks_without() -> None:
    assert update(Evidence(), skilled(1)).log_e > PASS
    assert update(Evidence(), skilled(1, ratio=-0.05)).log_e < 0
    assert update(Evidence(), skilled(1)).skill == pytest.approx(skilled(1).skill)


def test_noise_reaches_the_threshold_less_often_than_alpha() -> None:
    """Skill of exactly zero, looked at on each of 1,000 dates: at most 5 %, and some, else it proves nothing."""
    paths = log_e_paths(np.random.default_rng(3).standard_t(4, size=(1000, 2000)))
    assert 0.002 < np.mean((paths >= PASS).any(axis=0)) < 0.05


def test_the_wealth_is_expected_to_stay_at_one() -> None:
    """The e-value of coin flips has mean 1 exactly: over all sequences of the dates after the warm-up."""
    flips = np.array(list(itertools.product((-1.0, 1.0), repeat=10))).T
    start = np.tile(np.where(np.arange(WARM_UP) % 2, 1.0, -1.0)[:, None], (1, flips.shape[1]))
    final = np.exp(log_e_paths(np.concatenate([start, flips]))[-1])
    assert final.mean() == pytest.approx(1.0, abs=1e-12)
    assert final.std() > 0.05


def test_one_date_cannot_open_the_gate_and_one_crash_costs_at_most_each_bet() -> None:
    quiet = np.where(np.arange(100) % 2, 1.0, -1.0)
    before = log_e_paths(quiet[:, None])[-1, 0]
    windfall = log_e_paths(np.append(quiet, 1e6)[:, None])[-1, 0]
    assert before < windfall <= before + np.log(1 + 0.1 * GAIN_LIMIT)
    crash = log_e_paths(np.append(quiet, -1e6)[:, None])[-1, 0]
    assert crash == pytest.approx(before + np.log(LEAST_LEFT), abs=1e-9)


def test_the_unit_of_the_losses_does_not_matter() -> None:
    difference = np.random.default_rng(4).normal(0.1, 1, (300, 1))
    np.testing.assert_allclose(log_e_paths(1e-6 * difference), log_e_paths(difference), rtol=1e-9)


def test_a_model_equal_to_the_baseline_has_no_evidence_either_way() -> None:
    found = update(Evidence(), losses(np.zeros(100)))
    assert found.log_e == pytest.approx(0.0, abs=1e-12)
    assert found.skill == 0.0


def test_evidence_goes_on_where_it_stopped_and_a_date_counts_once() -> None:
    whole = skilled(5)
    once = update(Evidence(), whole)
    stored = json.loads(json.dumps(update(Evidence(), whole.rows(slice(0, 400))).to_dict()))
    assert update(Evidence.from_dict(stored), whole) == once
    assert update(once, whole) == once
    assert once.log_e == pytest.approx(log_e_paths(whole.difference[:, None])[-1, 0])


@pytest.mark.parametrize("change", [{"dates": "many"}, {"wealth_logs": [0.0]}, {"more": 1}, {"decay": [0.0] * 7}])
def test_stored_evidence_of_another_shape_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        Evidence.from_dict(Evidence().to_dict() | change)


def test_missing_evidence_is_not_filled_in() -> None:
    plain = Evidence().to_dict()
    del plain["log_peak"]
    with pytest.raises(IntegrityError):
        Evidence.from_dict(plain)


def test_decay_takes_the_evidence_away_and_never_gives_any() -> None:
    good, bad = skilled(6), skilled(7, ratio=-0.3, first=1000)
    before = update(Evidence(), good)
    after = update(before, bad.rows(slice(0, 450)))
    assert before.decayed_on == -1
    assert before.log_peak > PASS
    assert 1000 < after.decayed_on < 1450
    assert after.log_peak < PASS
    never = losses(np.random.default_rng(8).normal(-0.3, 1, 2000))
    assert update(Evidence(), never).log_e <= log_e_paths(never.difference[:, None])[-1, 0] + 5
    assert update(Evidence(), never).log_peak <= 0.5


def test_family_values_are_the_least_means_over_subsets() -> None:
    rng = np.random.default_rng(9)
    for count in (1, 2, 3, 5):
        log_e = rng.normal(0, 3, count)
        log_e[-1] = log_e[0]
        expected = [
            min(
                np.mean(np.exp(log_e[list(subset)]))
                for size in range(1, count + 1)
                for subset in itertools.combinations(range(count), size)
                if own in subset
            )
            for own in range(count)
        ]
        np.testing.assert_allclose(np.exp(family_log_e(log_e)), expected, rtol=1e-12)


def test_three_engines_of_one_model_cost_nothing_and_losers_do() -> None:
    np.testing.assert_allclose(family_log_e(np.full(3, PASS)), PASS)
    assert family_log_e(np.array([PASS, -50.0]))[0] == pytest.approx(PASS - np.log(2))
    assert len(family_log_e(np.empty(0))) == 0


def test_nothing_passes_and_the_baseline_speaks() -> None:
    found = decide([challenger("linear", skilled(10, ratio=0.0))], None, ZERO)
    assert (found.champion, found.promote, found.rolled_back) == (ZERO, False, False)
    assert found.e_value < found.threshold == pytest.approx(20)
    assert "linear" in found.reason
    assert decide([], None, ZERO).champion == ZERO


def test_skill_is_promoted_over_the_baseline_and_stays() -> None:
    family = [challenger("linear", skilled(11)), challenger("forest", skilled(12, ratio=-0.1))]
    first = decide(family, ZERO, ZERO)
    assert (first.champion, first.promote, first.rolled_back) == ("linear", True, False)
    assert first.e_value >= first.threshold
    again = decide(family, "linear", ZERO)
    assert (again.champion, again.promote, again.rolled_back) == ("linear", False, False)


def test_a_family_of_many_needs_more_evidence_than_one_alone() -> None:
    scanned = update(Evidence(), skilled(11))
    barely = replace(scanned, wealth_logs=tuple(w - scanned.log_e + PASS + 0.1 for w in scanned.wealth_logs))
    one = Challenger("linear", barely, skilled(11))
    losers = [challenger(f"loser{k}", skilled(20 + k, ratio=-0.1)) for k in range(3)]
    assert decide([one], None, ZERO).promote
    assert not decide([one, *losers], None, ZERO).promote


def test_of_several_that_pass_the_one_of_most_skill_speaks() -> None:
    base = np.random.default_rng(13).normal(0, 1, 1500)
    family = [challenger(name, losses(base + gain)) for name, gain in (("a", 0.2), ("b", 0.3), ("c", 0.25))]
    assert decide(family, None, ZERO).champion == "b"


def test_evidence_without_skill_over_all_its_dates_does_not_pass() -> None:
    good = update(Evidence(), skilled(11))
    poor = replace(good, model_loss=good.baseline_loss * 1.01)
    assert decide([Challenger("linear", good, skilled(11))], None, ZERO).promote
    assert not decide([Challenger("linear", poor, skilled(11))], None, ZERO).promote


def test_a_champion_stays_while_its_evidence_only_ebbs() -> None:
    good = update(Evidence(), skilled(11))
    ebbed = replace(good, wealth_logs=tuple(w - good.log_e + 0.5 for w in good.wealth_logs))
    family = [Challenger("linear", ebbed, skilled(11))]
    assert decide(family, "linear", ZERO).champion == "linear"
    assert decide(family, None, ZERO).champion == ZERO, "it would not be promoted now"
    assert update(good, skilled(30, ratio=0.0, count=300, first=1000)).log_peak >= good.log_peak


def test_a_better_challenger_replaces_the_champion_and_an_equal_or_worse_one_does_not() -> None:
    base = np.random.default_rng(13).normal(0, 1, 1500)
    good, equal, better, worse = (losses(base + gain, baseline=2.0) for gain in (0.2, 0.2, 0.3, 0.1))
    champion = challenger("linear", good)
    for other, expected in ((equal, "linear"), (worse, "linear"), (better, "other")):
        found = decide([champion, challenger("other", other)], "linear", ZERO)
        assert found.champion == expected
        assert found.promote == (expected == "other")
        assert not found.rolled_back


def test_being_a_little_ahead_by_chance_on_few_dates_is_not_enough() -> None:
    rng = np.random.default_rng(14)
    champion, other = losses(rng.normal(0, 0.5, 30), baseline=1.0), losses(rng.normal(0.05, 0.5, 30), baseline=1.0)
    assert other.skill > champion.skill + 0.001
    assert not not_worse(other, champion)
    assert not not_worse(skilled(1, first=5000), skilled(1)), "no common date"


def test_a_decayed_champion_is_rolled_back_even_if_the_alarm_is_days_old() -> None:
    history = skilled(6)
    decayed = DateLosses(
        np.arange(1500, dtype=np.int64),
        np.concatenate([history.model, skilled(7, ratio=-0.3, count=500).model]),
        np.full(1500, 10.0),
    )
    champion = challenger("linear", decayed)
    assert champion.evidence.last_session - champion.evidence.decayed_on > 5
    found = decide([champion], "linear", ZERO)
    assert (found.champion, found.promote, found.rolled_back) == (ZERO, False, True)
    successor = challenger("forest", skilled(15, count=1500))
    found = decide([champion, successor], "linear", ZERO)
    assert (found.champion, found.promote, found.rolled_back) == ("forest", True, True)


def test_a_champion_of_which_no_evidence_is_kept_is_rolled_back() -> None:
    found = decide([], "gone", ZERO)
    assert (found.champion, found.rolled_back) == (ZERO, True)
    assert "gone" in found.reason


def test_names_and_alpha_are_checked() -> None:
    one = challenger("linear", skilled(16, count=50))
    with pytest.raises(UsageError):
        decide([one, one], None, ZERO)
    with pytest.raises(UsageError):
        decide([one], None, "linear")
    with pytest.raises(UsageError):
        decide([one], None, ZERO, alpha=0.0)
