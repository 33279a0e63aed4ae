"""Feature state: kept up message by message, it gives the features of the whole history, to the bit."""

import dataclasses
import datetime as dt
import random
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.feature_state import (
    MARGIN,
    ActionVersion,
    InstrumentState,
    SessionVersion,
    Values,
    action_of,
    matrix_rows,
    newest_features,
    session_version,
)
from streamlake_assets.market.features import LOOKBACK, FeatureMatrix, feature_matrix
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import ActionKind, AssetClass, Status
from streamlake_assets.market.versions import Version
from streamlake_assets_tests.bars import action, bar
from streamlake_assets_tests.series_data import bokeh_series, random_walk

NOON = dt.datetime(2024, 1, 2, 12, tzinfo=UTC)


def version(rank: int = 20, settled: bool = True, as_of: dt.datetime = NOON, digest: bytes = b"a") -> Version:
    return Version(rank, settled, as_of, digest)


def sessions_of(series: SessionSeries) -> list[SessionVersion]:
    """The bars of a series as messages would bring them."""
    return [
        SessionVersion(
            from_ordinal(series.sessions[row]),
            version(),
            Values(
                float(series.open[row]),
                float(series.high[row]),
                float(series.low[row]),
                float(series.close[row]),
                None if np.isnan(series.volume[row]) else float(series.volume[row]),
            ),
        )
        for row in range(len(series))
    ]


def actions_of(series: SessionSeries) -> list[ActionVersion]:
    return [
        ActionVersion(from_ordinal(series.sessions[row]), ActionKind.SPLIT, version(), Decimal(float(factor)))
        for row, factor in enumerate(series.factor)
        if factor != 1
    ]


def state_of(series: SessionSeries, keep: int = LOOKBACK) -> InstrumentState:
    return InstrumentState(series.instrument, AssetClass.STOCK, keep)


def fed(series: SessionSeries, bars: Iterable[SessionVersion], keep: int = LOOKBACK) -> InstrumentState:
    state = state_of(series, keep)
    for one in actions_of(series):
        state.put_action(one)
    for bar_ in bars:
        state.put_bar(bar_)
    return state


def assert_same_newest(state: InstrumentState, whole: SessionSeries) -> None:
    """The newest row of the state's features is that of the whole series, to the bit."""
    expected, found = feature_matrix(whole), newest_features([state.series()])
    assert_same_row(found, 0, expected, len(whole) - 1)


def assert_same_row(found: FeatureMatrix, row: int, expected: FeatureMatrix, at: int) -> None:
    assert found.names == expected.names
    assert found.sessions[row] == expected.sessions[at]
    assert found.x[row].tobytes() == expected.x[at].tobytes()
    for target in Target:
        assert found.scale[target][row : row + 1].tobytes() == expected.scale[target][at : at + 1].tobytes()
        assert found.baseline[target][row : row + 1].tobytes() == expected.baseline[target][at : at + 1].tobytes()


def test_bar_by_bar_the_features_are_those_of_the_whole_history_to_the_bit() -> None:
    series = bokeh_series()[0].tail(LOOKBACK + 120)
    whole = feature_matrix(series)
    state = fed(series, [])
    compared = 0
    for row, found in enumerate(sessions_of(series)):
        assert state.put_bar(found)
        if row >= LOOKBACK:
            assert_same_row(newest_features([state.series()]), 0, whole, row)
            compared += 1
    assert compared == 120
    assert np.isfinite(whole.x[-1]).all()


def test_many_instruments_at_once_give_the_rows_of_each_alone() -> None:
    series = list(bokeh_series())
    together = newest_features(series)
    for row, one in enumerate(series):
        assert_same_row(together, row, feature_matrix(one), len(one) - 1)
    assert (together.target_sessions == -1).all()
    some = matrix_rows(together, [3, 1])
    assert some.sessions.tolist() == [series[3].sessions[-1], series[1].sessions[-1]]
    assert some.x.tobytes() == together.x[[3, 1]].tobytes()


def test_one_bad_instrument_does_not_touch_the_others() -> None:
    good, flat = random_walk(LOOKBACK + 5, 1), random_walk(LOOKBACK + 5, 2, "FLAT")
    flat = dataclasses.replace(flat, low=-np.ones(len(flat)), volume=np.full(len(flat), np.nan))
    together = newest_features([flat, good, flat])
    assert_same_row(together, 1, feature_matrix(good), len(good) - 1)
    assert not np.isfinite(together.x[0]).all()


def test_a_correction_of_an_old_bar_inside_the_window_is_taken_up() -> None:
    series = random_walk(LOOKBACK + 40, 3)
    state = fed(series, sessions_of(series))
    row = len(series) - LOOKBACK + 3
    was = sessions_of(series)[row]
    better = was._replace(
        version=version(as_of=NOON + dt.timedelta(days=1)), values=was.values._replace(close=was.values.close * 1.01)
    )
    assert state.put_bar(better)
    close = series.close.copy()
    close[row] = better.values.close
    assert_same_newest(state, dataclasses.replace(series, close=close))
    assert not state.put_bar(was), "an older version changes nothing"
    assert not state.put_bar(better), "nor does the same once more"
    assert_same_newest(state, dataclasses.replace(series, close=close))


def test_a_split_and_a_dividend_count_on_the_first_session_on_or_after_their_date() -> None:
    series = random_walk(LOOKBACK + 30, 4)
    sessions = np.concatenate((series.sessions[:-3], series.sessions[-3:] + 2))
    gapped = dataclasses.replace(series, sessions=sessions)
    state = fed(gapped, sessions_of(gapped))
    inside_gap = from_ordinal(gapped.sessions[-3]) - dt.timedelta(days=1)
    for kind, factor in ((ActionKind.SPLIT, "0.5"), (ActionKind.DIVIDEND, "0.99")):
        assert state.put_action(ActionVersion(inside_gap, kind, version(), Decimal(factor)))
    factors = np.ones(len(series))
    factors[-3] = float(Decimal("0.5") * Decimal("0.99"))
    assert_same_newest(state, dataclasses.replace(gapped, factor=factors))
    later = version(as_of=NOON + dt.timedelta(days=1))
    assert state.put_action(ActionVersion(inside_gap, ActionKind.SPLIT, later, Decimal("0.25")))
    factors[-3] = float(Decimal("0.25") * Decimal("0.99"))
    assert_same_newest(state, dataclasses.replace(gapped, factor=factors))


def test_an_action_after_the_newest_session_waits_for_its_session() -> None:
    series = random_walk(LOOKBACK + 10, 5)
    state = fed(series, sessions_of(series)[:-1])
    state.put_action(ActionVersion(from_ordinal(series.sessions[-1]), ActionKind.SPLIT, version(), Decimal("0.5")))
    assert (state.series().factor == 1).all()
    state.put_bar(sessions_of(series)[-1])
    assert state.series().factor[-1] == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_any_order_of_arrival_ends_in_the_same_state(seed: int) -> None:
    series = random_walk(LOOKBACK + MARGIN + 25, 6)
    bars, actions = (
        sessions_of(series),
        [ActionVersion(from_ordinal(series.sessions[-9]), ActionKind.SPLIT, version(), Decimal("0.5"))],
    )
    older = [one._replace(version=version(rank=10), values=Values(1, 1, 1, 1, None)) for one in bars[::3]]
    arrivals: Sequence[SessionVersion | ActionVersion] = [*bars, *older, *bars[::4], *actions]
    shuffled = list(arrivals)
    random.Random(seed).shuffle(shuffled)
    state = state_of(series)
    for one in shuffled:
        _ = state.put_bar(one) if isinstance(one, SessionVersion) else state.put_action(one)
    factor = series.factor.copy()
    factor[-9] = 0.5
    expected = dataclasses.replace(series, factor=factor).tail(LOOKBACK + MARGIN)
    found = state.series()
    for name in ("sessions", "open", "high", "low", "close", "volume", "factor"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes(), name


def test_provisional_bars_count_once_they_are_settled() -> None:
    series = random_walk(LOOKBACK + 5, 7)
    *known, last = sessions_of(series)
    state = fed(series, known)
    before = state.newest
    assert state.put_bar(last._replace(version=version(settled=False), values=Values(1, 2, 1, 1, 0)))
    assert state.newest == before
    assert state.put_bar(last)
    assert state.newest == last.session
    assert_same_newest(state, series)
    # of a higher source, and not settled: the tables have no settled bar of this session now
    assert state.put_bar(last._replace(version=version(rank=99, settled=False)))
    assert state.newest == before


def test_it_keeps_no_more_than_it_needs_and_says_when_it_has_less() -> None:
    series = random_walk(3 * LOOKBACK, 8)
    state = fed(series, sessions_of(series), keep=LOOKBACK)
    assert len(state.series()) == LOOKBACK + MARGIN
    assert not state.put_bar(sessions_of(series)[0]), "older than what is kept"
    assert not state.is_short
    for one in sessions_of(series)[-MARGIN - 1 :]:
        state.put_bar(one._replace(version=version(rank=99, settled=False)))
    assert state.is_short
    assert not fed(series, sessions_of(series)[:5]).is_short, "young is not short"


def test_messages_become_versions_of_sessions_and_actions() -> None:
    found = session_version(bar(price="12.5", volume=None, status=Status.PROVISIONAL), 7)
    assert found.session == dt.date(2013, 1, 14)
    assert found.values == Values(12.5, 12.5, 12.5, 12.5, None)
    assert (found.version.rank, found.version.settled) == (7, False)
    split = action_of(action(), 7)
    assert (split.ex_date, split.kind, split.factor) == (dt.date(2013, 1, 14), ActionKind.SPLIT, Decimal("0.5"))


def test_too_short_a_series_has_no_newest_features() -> None:
    with pytest.raises(UsageError, match=r"AAA\|XNYS"):
        newest_features([random_walk(LOOKBACK - 1, 9)])
    with pytest.raises(UsageError, match="no instrument"):
        newest_features([])
