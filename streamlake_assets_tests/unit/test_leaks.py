"""The leak sentinel: every way to know too much is caught by the check that should; the honest registry passes."""

import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market import frames
from streamlake_assets.market.feature_leaks import INSTRUMENTS, no_level_shows, the_future_moves_no_feature
from streamlake_assets.market.features import Derived, FeatureMatrix, feature_matrix
from streamlake_assets.market.frames import TrainingFrame, training_frame
from streamlake_assets.market.indicators import lagged, moving_mean
from streamlake_assets.market.leaks import COPY_LIMIT, inspect, rows_are_known_in_time
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.skill import Fold, walk_forward_folds
from streamlake_assets.market.targets import Target
from streamlake_assets_tests.series_data import bokeh_series, planted_range, planted_return, random_walk, random_walks

FUTURE, IN_TIME, TARGETS, COPY, LEVEL, KEY, LABEL = (
    "the_future_moves_no_feature",
    "rows_are_known_in_time",
    "targets_are_of_the_next_session",
    "no_feature_is_a_copy_of_a_target",
    "no_level_shows",
    "no_key_is_on_both_sides",
    "labels_are_known_before_the_test",
)
COLUMN = "gap_1"
"""The feature whose place the mutants take."""
Column = Callable[[SessionSeries], np.ndarray]


def walks() -> list[SessionSeries]:
    """Three instruments of which the first once split."""
    first, *others = random_walks(240, 5)
    halved = {
        c: np.where(np.arange(240) >= 120, 0.5, 1.0) * getattr(first, c) for c in ("open", "high", "low", "close")
    }
    return [dataclasses.replace(first, factor=np.where(np.arange(240) == 120, 0.5, 1.0), **halved), *others]


def folds_of(frame: TrainingFrame) -> list[Fold]:
    return list(walk_forward_folds(frame.sessions, frame.target_sessions, first_train=60, step=30, embargo=1))


def caught(verdicts: dict[str, Verdict]) -> set[str]:
    return {name for name, verdict in verdicts.items() if not verdict.passed}


def with_column(column: Column) -> Callable[[SessionSeries], FeatureMatrix]:
    """The feature code with one feature replaced by another, cut at the limit as all are."""

    def compute(series: SessionSeries) -> FeatureMatrix:
        matrix = feature_matrix(series)
        x = matrix.x.copy()
        x[:, matrix.names.index(COLUMN)] = np.clip(column(series), -10, 10)
        return dataclasses.replace(matrix, x=x)

    return compute


def ahead(values: np.ndarray, rows: int = 1) -> np.ndarray:
    """The value of so many rows later, and the last one again where there is none: no NaN gives the leak away."""
    return np.concatenate((values[rows:], np.full(rows, values[-1])))


def returns(series: SessionSeries) -> np.ndarray:
    return np.nan_to_num(Derived(series).adjusted_return)


def future_normalised(series: SessionSeries) -> np.ndarray:
    month = feature_matrix(series).x[:, 4]
    return (month - np.nanmean(month)) / np.nanstd(month)


def adjusted_back(series: SessionSeries) -> np.ndarray:
    """The close as charts show it: divided by the factors of all actions that came later."""
    later = np.concatenate((np.cumprod(series.factor[:0:-1])[::-1], [1.0]))
    return np.log(series.close * later)


LEAKING: dict[str, tuple[Column, set[str]]] = {
    "return of the session forecast": (
        lambda s: ahead(returns(s)) / Derived(s).volatility,
        {FUTURE, IN_TIME, COPY},
    ),
    "close of the session forecast over its month": (
        lambda s: (1 + ahead(returns(s))) / Derived(s).level_mean(22) - 1,
        {FUTURE, IN_TIME},
    ),
    "return after the one forecast": (lambda s: 30 * ahead(returns(s), 2) - 2, {FUTURE, IN_TIME, COPY}),
    "centred window": (lambda s: 50 * ahead(np.nan_to_num(moving_mean(returns(s), 5)), 2), {FUTURE, IN_TIME}),
    "score over the whole history": (future_normalised, {FUTURE, IN_TIME, LEVEL}),
    "days until the next session": (
        lambda s: np.append(np.diff(s.sessions), 5).astype(np.float64),
        {IN_TIME},
    ),
    "adjusted level": (adjusted_back, {FUTURE, LEVEL}),
    "raw level": (lambda s: np.log(s.close), {LEVEL}),
    "raw price, most of it cut at the limit": (lambda s: s.close, {LEVEL}),
    "level since the first session": (lambda s: 5 * np.cumsum(returns(s)), {LEVEL}),
    "return without the split": (lambda s: np.log(s.close) - lagged(np.log(s.close), 1), {LEVEL}),
    "volume in units": (lambda s: np.log(s.volume) - 10, {LEVEL}),
}


def test_the_registry_is_clean_on_the_real_bars() -> None:
    frame = training_frame(bokeh_series(), None, 63)
    verdicts = inspect(bokeh_series(), frame, folds_of(frame))
    assert list(verdicts) == [FUTURE, IN_TIME, TARGETS, COPY, LEVEL, KEY, LABEL]
    assert caught(verdicts) == set(), verdicts
    assert verdicts[LEVEL].facts["volumes_in_another_unit"] == 5
    assert verdicts[FUTURE].facts["cuts"] == verdicts[IN_TIME].facts["cuts"] == 15
    assert 0 < verdicts[COPY].facts["highest"] < COPY_LIMIT


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("make", [random_walk, planted_range, planted_return])
def test_the_registry_is_clean_on_made_series(make: Callable[[int, int, str], SessionSeries], seed: int) -> None:
    series = [make(220, 10 * seed + one, f"S{one}") for one in range(3)]
    frame = training_frame(series, None, 63)
    assert caught(inspect(series, frame, folds_of(frame), seed=seed)) == set()


def test_training_sets_that_end_early_or_hold_young_and_odd_instruments_are_clean() -> None:
    long = walks()
    no_volume = dataclasses.replace(long[1], volume=np.full(240, np.nan))
    few = dataclasses.replace(long[2], volume=np.round(np.arange(240) % 7.0))
    bad = dataclasses.replace(long[0], close=np.where(np.arange(240) == 150, -1.0, long[0].close))
    series = [bad, no_volume, few, random_walk(62, 3, "YOUNG"), random_walk(66, 4, "YOUTH")]
    frame = training_frame(series, from_ordinal(long[0].sessions[229]), 63)
    verdicts = inspect(series, frame, folds_of(frame))
    assert caught(verdicts) == set(), verdicts
    assert verdicts[LEVEL].facts["volumes_in_another_unit"] < verdicts[LEVEL].facts["instruments"]


@pytest.mark.parametrize("name", LEAKING)
def test_a_leaking_feature_is_caught_by_the_checks_that_should(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    column, expected = LEAKING[name]
    compute = with_column(column)
    monkeypatch.setattr(frames, "feature_matrix", compute)
    frame = training_frame(walks(), None, 63)
    verdicts = inspect(walks(), frame, folds_of(frame), compute)
    assert caught(verdicts) == expected
    for check in expected:
        assert all(COLUMN in one for one in verdicts[check].facts["first"])


def test_the_verdict_names_the_column_the_instrument_and_the_cut() -> None:
    verdict = the_future_moves_no_feature(walks()[:1], with_column(lambda s: ahead(returns(s))), cuts=1)
    dates = [str(from_ordinal(day)) for day in walks()[0].sessions]
    words = verdict.facts["first"][0].split()
    assert words[:4] == [COLUMN, "of", "S0|XNYS", "on"]
    assert words[4] == words[-2], "a feature that reads one session too far moves in the row of the cut alone"
    assert words[4] in dates


def test_a_feature_that_looks_one_session_ahead_is_caught_at_every_cut() -> None:
    for seed in range(5):
        assert not the_future_moves_no_feature(
            walks(), with_column(lambda s: ahead(returns(s))), cuts=1, seed=seed
        ).passed


def test_a_target_that_was_shifted_the_wrong_way_is_caught() -> None:
    """Then row t holds the target of its own session: the newest return is a perfect forecast of it."""
    frame = training_frame(walks(), None, 63)
    made = [feature_matrix(s) for s in walks()]
    own: dict[Target, np.ndarray] = {}
    for target in Target:
        values = {
            (code, session): value
            for code, matrix in enumerate(made)
            for session, value in zip(matrix.target_sessions, matrix.y[target], strict=True)
        }
        own[target] = np.array([values[key] for key in zip(frame.instrument, frame.sessions, strict=True)])
    verdicts = inspect(walks(), dataclasses.replace(frame, y=own), folds_of(frame))
    assert caught(verdicts) == {TARGETS, COPY}
    assert "return_1 is adjusted_return" in " ".join(verdicts[COPY].facts["first"])


def test_a_target_of_the_session_after_the_next_is_caught() -> None:
    frame = training_frame(walks()[:1], None, 63)
    late = {target: np.append(values[1:], values[-1]) for target, values in frame.y.items()}
    assert caught(inspect(walks(), dataclasses.replace(frame, y=late), folds_of(frame))) == {TARGETS}
    shifted = np.append(frame.target_sessions[1:], frame.target_sessions[-1])
    assert TARGETS in caught(inspect(walks(), dataclasses.replace(frame, target_sessions=shifted), folds_of(frame)))


def rows_of(frame: TrainingFrame, rows: np.ndarray) -> TrainingFrame:
    def cut(group: dict[Target, np.ndarray]) -> dict[Target, np.ndarray]:
        return {target: values[rows] for target, values in group.items()}

    return dataclasses.replace(
        frame,
        instrument=frame.instrument[rows],
        sessions=frame.sessions[rows],
        target_sessions=frame.target_sessions[rows],
        x=frame.x[rows],
        y=cut(frame.y),
        scale=cut(frame.scale),
        baseline=cut(frame.baseline),
    )


def test_duplicated_rows_are_caught() -> None:
    frame = training_frame(walks(), None, 63)
    twice = rows_of(frame, np.sort(np.concatenate((np.arange(len(frame)), [40, 80]))))
    verdicts = inspect(walks(), twice, folds_of(twice))
    assert caught(verdicts) == {KEY}
    assert verdicts[KEY].facts["leaks"] == 2
    assert "stands 2 times" in verdicts[KEY].text


def test_a_random_split_is_caught() -> None:
    """It puts rows of one date, and the copies of a row where there are any, on both sides."""
    frame = training_frame(walks(), None, 63)
    order = np.random.default_rng(0).permutation(len(frame))
    verdicts = inspect(walks(), frame, [Fold(train=order[50:], test=order[:50])])
    assert caught(verdicts) == {KEY, LABEL}
    assert "on both sides of fold 1" in verdicts[KEY].text


def test_a_label_that_came_true_after_the_test_began_is_caught() -> None:
    """Without the purge the last rows before the test are fit on: their label is of the first date tested."""
    frame = training_frame(walks(), None, 63)
    dates = np.unique(frame.sessions)
    start = dates[100]
    unpurged = Fold(train=np.flatnonzero(frame.sessions < start), test=np.flatnonzero(frame.sessions >= start))
    verdicts = inspect(walks(), frame, [unpurged])
    assert caught(verdicts) == {LABEL}
    assert verdicts[LABEL].facts["leaks"] == 3
    assert str(from_ordinal(start)) in verdicts[LABEL].text


def test_a_label_of_an_instrument_that_paused_is_caught() -> None:
    """It skipped the whole month before the test: its last row before is far away and its label is not."""
    paused, other = random_walks(240, 6, 2)
    away = slice(150, 180)
    columns = ("sessions", "open", "high", "low", "close", "volume", "factor")
    paused = dataclasses.replace(paused, **{c: np.delete(getattr(paused, c), away) for c in columns})
    frame = training_frame([paused, other], None, 63)
    start = other.sessions[170]
    embargoed = Fold(train=np.flatnonzero(frame.sessions < start - 10), test=np.flatnonzero(frame.sessions >= start))
    verdicts = inspect([paused, other], frame, [embargoed])
    assert caught(verdicts) == {LABEL}
    assert verdicts[LABEL].facts["leaks"] == 1


def test_a_row_that_was_made_with_hindsight_is_caught() -> None:
    """One value of one row is not what the code gives: a file was changed, or other code made it."""
    frame = training_frame(walks(), None, 63)
    x = frame.x.copy()
    x[77, 3] = np.nextafter(x[77, 3], 9)
    verdicts = inspect(walks(), dataclasses.replace(frame, x=x), folds_of(frame))
    assert caught(verdicts) == {IN_TIME}
    assert str(from_ordinal(frame.sessions[77])) in verdicts[IN_TIME].text


def test_a_row_that_is_not_before_its_target_is_caught() -> None:
    frame = training_frame(walks(), None, 63)
    same = np.where(np.arange(len(frame)) == 5, frame.sessions, frame.target_sessions)
    assert caught(inspect(walks(), dataclasses.replace(frame, target_sessions=same), folds_of(frame))) == {
        IN_TIME,
        TARGETS,
    }


def test_rows_of_no_session_are_caught() -> None:
    frame = training_frame(walks(), None, 63)
    cut = [s.until(from_ordinal(s.sessions[-3])) for s in walks()]
    assert caught(inspect(cut, frame, folds_of(frame))) == {IN_TIME, TARGETS}


def test_a_feature_that_is_not_computed_is_caught() -> None:
    frame = training_frame(walks(), None, 63)
    other = dataclasses.replace(frame, names=("tomorrow", *frame.names[1:]))
    verdict = rows_are_known_in_time(walks(), other)
    assert "tomorrow of the frame is not computed" in verdict.facts["first"]


@pytest.mark.parametrize("copied", [lambda y: -3 * y + 1, lambda y: y + 0.1 * np.std(y) * np.sin(np.arange(len(y)))])
@pytest.mark.parametrize("rows", [0, 1])
def test_an_affine_or_noisy_copy_of_a_target_is_caught_where_it_is(
    copied: Callable[[np.ndarray], np.ndarray], rows: int
) -> None:
    """Of one instrument among three, of its row or of the next."""
    frame = training_frame(walks(), None, 63)
    x, mine = frame.x.copy(), np.flatnonzero(frame.instrument == 1)
    x[mine, 2] = copied(ahead(frame.y[Target.LOG_RANGE][mine], rows) if rows else frame.y[Target.LOG_RANGE][mine])
    verdicts = inspect(walks(), dataclasses.replace(frame, x=x), folds_of(frame))
    assert caught(verdicts) == {IN_TIME, COPY}
    assert f"{frame.names[2]} is log_range" in verdicts[COPY].text
    assert "S1|XNYS" in verdicts[COPY].text


def test_of_many_instruments_some_are_computed_again() -> None:
    series = random_walks(70, 1, 20)
    verdict = no_level_shows(series)
    assert verdict.facts["instruments"] == INSTRUMENTS
    assert the_future_moves_no_feature(series).facts["cuts"] == 3 * INSTRUMENTS


def test_an_instrument_without_a_series_is_refused() -> None:
    frame = training_frame(walks(), None, 63)
    with pytest.raises(UsageError, match=r"without a series: S2\|XNYS"):
        inspect(walks()[:2], frame, folds_of(frame))


def test_the_verdicts_can_be_written_down_and_do_not_change() -> None:
    frame = training_frame(walks(), None, 63)
    first = msgspec.json.encode(inspect(walks(), frame, folds_of(frame), seed=3))
    assert msgspec.json.encode(inspect(walks()[::-1], frame, folds_of(frame), seed=3)) == first
