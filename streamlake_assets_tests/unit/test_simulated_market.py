"""The made market: the contract, the calendar, the planted signals, equal by seed."""

import datetime as dt
import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import decode_bar
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, Interval
from streamlake_assets.sources.planted_faults import faultless
from streamlake_assets.sources.simulated_market import MarketSpec, SessionBars, simulate
from streamlake_assets.sources.simulated_records import actions, messages

NOW = dt.datetime(2026, 1, 5, tzinfo=UTC)
SMALL = MarketSpec(instruments=3, interval=Interval.M5, sessions=3, seed=7)


def bars_of(spec: MarketSpec) -> list[Bar]:
    return [
        decode_bar(message.value, message.key.encode(), NOW)
        for session in simulate(spec)
        for message in messages(spec, faultless(session), NOW)
    ]


def daily(spec: MarketSpec) -> list[SessionBars]:
    return list(simulate(replace(spec, interval=Interval.D1)))


@pytest.mark.parametrize("interval", list(Interval))
def test_every_bar_keeps_the_contract_and_says_that_it_is_made(interval: Interval) -> None:
    made = bars_of(replace(SMALL, interval=interval))
    assert made and all(bar.synthetic and bar.source == "simulated" for bar in made)
    assert len({(bar.symbol, bar.bar_time) for bar in made}) == len(made)
    assert [bar.as_of for bar in made] == sorted(bar.as_of for bar in made)


@pytest.mark.parametrize(
    ("asset_class", "exchange", "bars"),
    [(AssetClass.CRYPTO, "XXXX", 288), (AssetClass.FX, "XXXX", 288), (AssetClass.STOCK, "XNYS", 78)],
)
def test_sessions_are_as_long_as_those_of_the_calendar(asset_class: AssetClass, exchange: str, bars: int) -> None:
    spec = replace(SMALL, asset_class=asset_class, exchange=exchange, instruments=1, sessions=1)
    made = bars_of(spec)
    assert len(made) == bars
    assert (made[0].volume is None) == (asset_class is AssetClass.FX)


def test_holidays_are_left_out_and_half_days_are_short() -> None:
    spec = MarketSpec(instruments=1, interval=Interval.M30, sessions=4, first=dt.date(2024, 11, 27))
    sessions = list(simulate(spec))
    # Thanksgiving is no session, the day after it ends at 13:00
    assert [one.session.day for one in sessions] == [27, 29, 2, 3]
    assert [len(one.start) for one in sessions] == [13, 7, 13, 13]


def test_one_seed_is_one_market() -> None:
    assert bars_of(SMALL) == bars_of(SMALL)
    assert bars_of(SMALL) != bars_of(replace(SMALL, seed=8))


def test_a_bar_opens_where_the_one_before_it_closed() -> None:
    series: dict[str, list[Bar]] = defaultdict(list)
    for bar in bars_of(replace(SMALL, sessions=1)):
        series[bar.symbol].append(bar)
    assert all(later.open == earlier.close for bars in series.values() for earlier, later in pairwise(bars))


def test_raw_prices_hold_the_actions_and_adjusted_returns_do_not() -> None:
    spec = MarketSpec(instruments=200, sessions=70, volatility=0.03, seed=3)
    sessions = daily(spec)
    close: dict[int, int] = {}
    kinds = set()
    for session in sessions:
        factor = {one.instrument: float(one.factor) for one in session.actions}
        kinds |= {one.kind for one in session.actions}
        for number, price in zip(session.instrument.tolist(), session.close.tolist(), strict=True):
            if number in close:
                raw = math.log(price / close[number])
                assert raw - math.log(factor.get(number, 1.0)) == pytest.approx(session.returns[number])
            close[number] = price
    assert kinds == {ActionKind.SPLIT, ActionKind.DIVIDEND}
    assert all(abs(one) < 0.5 for session in sessions for one in session.returns.tolist())
    (made,) = [action for session in sessions[:2] for action in actions(spec, session)][:1]
    assert (made.source, made.exchange, made.ex_date) == ("simulated", "XNYS", sessions[1].session)


@pytest.mark.parametrize("ic", [0.0, 0.05, -0.3])
def test_the_planted_signal_is_there_and_no_stronger(ic: float) -> None:
    returns = np.array([one.returns for one in daily(MarketSpec(instruments=300, sessions=200, ic=ic, seed=1))])
    found = np.corrcoef(returns[:-1].ravel(), returns[1:].ravel())[0, 1]
    # 60,000 pairs: a standard error of 0.004, somewhat more since volatilities differ
    assert found == pytest.approx(ic, abs=0.025)


@pytest.mark.parametrize("range_ic", [0.0, 0.5])
def test_volume_tells_the_next_range_as_much_as_was_asked(range_ic: float) -> None:
    sessions = daily(MarketSpec(instruments=300, sessions=150, range_ic=range_ic, seed=2))
    volumes = np.log(np.array([one.volume for one in sessions], dtype=np.float64))
    ranges = np.log(np.log(np.array([one.high for one in sessions]) / np.array([one.low for one in sessions])))
    # without what is known of the volatility: its own level two sessions ago and before does not matter here
    shocks = (volumes - volumes.mean(axis=0))[:-1].ravel()
    following = (ranges - ranges.mean(axis=0))[1:].ravel()
    impact = range_ic * math.hypot(0.1, 0.29) / math.sqrt(1 - range_ic**2)
    expected = impact / math.hypot(following.std(), 0.0)
    assert np.corrcoef(shocks, following)[0, 1] == pytest.approx(expected, abs=0.03)


def test_volatility_clusters_and_is_the_one_asked_for() -> None:
    returns = np.array(
        [one.returns for one in daily(MarketSpec(instruments=300, sessions=200, volatility=0.02, seed=4))]
    )
    sizes = np.abs(returns)
    assert np.corrcoef(sizes[:-1].ravel(), sizes[1:].ravel())[0, 1] > 0.1
    assert returns.std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"instruments": 0}, "instruments 0"),
        ({"sessions": 0}, "sessions 0"),
        ({"volatility": 0.0}, "volatility 0"),
        ({"ic": 1.0}, "ic 1"),
        ({"range_ic": -1.0}, "range_ic -1"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_by_name(change: dict[str, float], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_a_calendar_that_ends_too_soon_is_named() -> None:
    with pytest.raises(UsageError, match="XNYS"):
        list(simulate(replace(SMALL, sessions=100_000)))
