"""Anomalies in series: each is found where it is, and a market that is only lively has none."""

import numpy as np
import pytest

from streamlake_assets.market.anomalies import (
    LEAST_REPEATS,
    LEAST_WITHOUT_VOLUME,
    SeriesBars,
    jumps,
    late,
    missing,
    repeats,
)

MINUTE = 60_000_000


def series(closes: list[float], sessions: list[int] | None = None, arrival: list[int] | None = None) -> SeriesBars:
    """Bars of one minute whose four prices are their close, each with a volume of its own."""
    count = len(closes)
    price = np.array(closes, dtype=np.float64)
    return SeriesBars(
        start=np.arange(count, dtype=np.int64) * MINUTE,
        session=np.array(sessions or [1] * count, dtype=np.int64),
        open=price,
        high=price,
        low=price,
        close=price,
        volume=np.arange(count, dtype=np.float64) + 1,
        arrival=np.array(arrival or range(count), dtype=np.int64),
    )


def calm(count: int, seed: int = 0) -> list[float]:
    moves = np.random.default_rng(seed).normal(0, 0.001, count)
    return list(100 * np.exp(np.cumsum(moves)))


def hanging(closes: list[float], first: int, count: int) -> SeriesBars:
    made = series(closes)
    for column in (made.open, made.high, made.low, made.close, made.volume):
        column[first : first + count] = column[first - 1]
    return made


def test_what_is_not_there_is_missing() -> None:
    expected = np.arange(10, dtype=np.int64) * MINUTE
    assert missing(np.delete(expected, [0, 4]), expected).tolist() == [0, 4 * MINUTE]
    assert missing(expected, expected).tolist() == []


def test_a_feed_that_hangs_is_found_bar_for_bar_and_two_equal_bars_are_not() -> None:
    assert repeats(hanging(calm(30), 10, LEAST_REPEATS)).tolist() == [10, 11, 12]
    assert repeats(hanging(calm(30), 10, LEAST_REPEATS - 1)).tolist() == []
    assert repeats(hanging(calm(30), 27, 3)).tolist() == [27, 28, 29], "also at the end"


def test_bars_without_volume_repeat_too() -> None:
    quiet, hung = hanging(calm(30), 5, LEAST_WITHOUT_VOLUME - 1), hanging(calm(30), 5, LEAST_WITHOUT_VOLUME)
    quiet.volume[:] = hung.volume[:] = np.nan
    assert repeats(quiet).tolist() == [], "two quiet bars differ by nothing"
    assert repeats(hung).tolist() == list(range(5, 5 + LEAST_WITHOUT_VOLUME))


def test_a_price_below_nought_hides_no_jump_elsewhere() -> None:
    closes = calm(60)
    closes[10], closes[40] = -37.63, closes[40] * 1.5
    assert jumps(series(closes), {}).tolist() == [40]
    assert jumps(series([-1.0, -2.0, 0.0]), {}).tolist() == []


@pytest.mark.parametrize("factor", [1.5, 0.6])
def test_a_spike_is_one_bar_and_its_way_back_is_none(factor: float) -> None:
    closes = calm(60)
    closes[20] *= factor
    assert jumps(series(closes), {}).tolist() == [20]


def test_a_shift_is_found_at_its_first_bar_unless_an_action_explains_it() -> None:
    closes, sessions = calm(60), [1] * 30 + [4] * 30
    closes[30:] = [close / 2 for close in closes[30:]]
    made = series(closes, sessions)
    assert jumps(made, {}).tolist() == [30]
    assert jumps(made, {4: 0.5}).tolist() == []
    assert jumps(made, {3: 0.5}).tolist() == [], "an action on a day without a bar belongs to the next session"
    assert jumps(made, {1: 0.5}).tolist() == [30], "one before the first bar does not"


def test_an_action_without_a_move_in_the_price_is_a_jump() -> None:
    assert jumps(series(calm(60), [1] * 30 + [2] * 30), {2: 0.5}).tolist() == [30]


def test_news_overnight_is_no_jump_and_the_same_within_a_session_is() -> None:
    closes = calm(60)
    closes[30:] = [close * 0.88 for close in closes[30:]]
    assert jumps(series(closes, [1] * 30 + [2] * 30), {}).tolist() == []
    assert jumps(series(closes), {}).tolist() == [30]


def test_a_lively_market_has_no_jumps() -> None:
    moves = np.random.default_rng(1).standard_t(4, 5_000) * 0.02
    assert len(jumps(series(list(100 * np.exp(np.cumsum(moves)))), {})) <= 1


def test_bars_that_came_after_later_ones_are_late_by_their_distance() -> None:
    # the second came after the fourth, the fifth after the sixth
    found = late(series(calm(6), arrival=[0, 3, 1, 2, 5, 4]))
    assert found.places.tolist() == [1, 4]
    assert found.behind.tolist() == [2 * MINUTE, MINUTE]
    assert late(series(calm(6))).places.tolist() == []


@pytest.mark.parametrize("count", [0, 1, 2])
def test_series_too_short_to_judge_have_no_anomalies(count: int) -> None:
    made = series(calm(count))
    assert [len(found) for found in (jumps(made, {}), repeats(made), late(made).places)] == [0, 0, 0]
