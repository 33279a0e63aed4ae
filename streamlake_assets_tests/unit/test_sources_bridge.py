import datetime as dt
import hashlib
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamlake_assets.errors import UsageError
from streamlake_assets.market.contract import decode_bar, encode_bar, validate_bar
from streamlake_assets.market.sessions import daily_bar_time
from streamlake_assets.market.types import AssetClass, Bar, Interval, Status
from streamlake_assets.sources.bridge import STEP, bridge_session, provisional_daily

SESSION = dt.date(2013, 3, 1)
OPENS = dt.datetime(2013, 3, 1, 14, 30, tzinfo=dt.UTC)
CLOSES = dt.datetime(2013, 3, 1, 21, 0, tzinfo=dt.UTC)
PINNED = "97d5207fb12821cb36c30e56fd2654d53f1b1d67b4643d398ae9de46ef246656"


def daily(
    prices: tuple[str, str, str, str] = ("438", "438.18", "429.98", "430.47"), volume: str | None = "19730300"
) -> Bar:
    first, high, low, last = map(Decimal, prices)
    moment = daily_bar_time(SESSION, "XNYS")
    return Bar(
        symbol="AAPL",
        exchange="XNYS",
        asset_class=AssetClass.STOCK,
        interval=Interval.D1,
        bar_time=moment,
        open=first,
        high=high,
        low=low,
        close=last,
        volume=None if volume is None else Decimal(volume),
        source="made",
        event_time=moment,
        as_of=moment,
        currency="USD",
        name="Apple Inc.",
    )


def aggregate(bars: list[Bar]) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal | None]:
    volumes = [bar.volume for bar in bars if bar.volume is not None]
    return (
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(volumes, Decimal(0)) if volumes else None,
    )


def values(bar: Bar) -> tuple[Decimal, Decimal, Decimal, Decimal, Decimal | None]:
    return bar.open, bar.high, bar.low, bar.close, bar.volume


@st.composite
def daily_bars(draw: st.DrawFn) -> Bar:
    places = draw(st.integers(0, 10))
    largest = 10 ** draw(st.integers(1, min(15, 9 + places)))
    ticks = sorted(draw(st.lists(st.integers(1, largest), min_size=4, max_size=4)))
    ends = draw(st.permutations(ticks[1:3]))
    inner = draw(st.sampled_from([tuple(ends), (ticks[0], ticks[3]), (ticks[3], ticks[0]), (ticks[3], ticks[3])]))
    first, high, low, last = (str(Decimal(tick).scaleb(-places)) for tick in (inner[0], ticks[3], ticks[0], inner[1]))
    volume = draw(
        st.one_of(
            st.none(),
            st.integers(0, 10**15 - 1).map(str),
            st.integers(0, 10**15 - 1).map(lambda units: str(Decimal(units).scaleb(-8))),
        )
    )
    return daily((first, high, low, last), volume)


@given(daily_bars(), st.integers(1, 100), st.integers(0, 3))
@settings(deadline=None)
def test_bars_of_a_session_are_its_daily_bar_again(bar: Bar, count: int, seed: int) -> None:
    validate_bar(bar)
    bars = bridge_session(bar, OPENS, OPENS + count * STEP, seed=seed)
    assert aggregate(bars) == values(bar)
    assert len(bars) == count
    assert all(earlier.close == later.open for earlier, later in pairwise(bars))
    assert [made.bar_time for made in bars] == [OPENS + n * STEP for n in range(count)]
    for made in bars:
        assert decode_bar(encode_bar(made, made.as_of), b"AAPL", made.as_of) == made


def test_price_with_a_fine_low_under_a_large_high_keeps_the_contract() -> None:
    bar = daily(("1000000000.5", "9999999999.5", "0.0000000001", "3.0000000001"))
    bars = bridge_session(bar, OPENS, CLOSES)
    assert aggregate(bars) == values(bar)
    for made in bars:
        validate_bar(made)


def test_made_bars_say_so_and_carry_their_own_end_as_the_time_of_knowledge() -> None:
    bars = bridge_session(daily(), OPENS, CLOSES)
    assert len(bars) == 78
    for bar in bars:
        assert (bar.synthetic, bar.source, bar.status, bar.interval) == (True, "bridge", Status.SETTLED, Interval.M5)
        assert bar.as_of == bar.bar_time + dt.timedelta(minutes=5)
        assert (bar.name, bar.currency) == ("Apple Inc.", "USD")


def test_prices_stay_on_the_grid_of_the_daily_bar() -> None:
    bars = bridge_session(daily(), OPENS, CLOSES)
    assert all(price == price.quantize(Decimal("0.01")) for bar in bars for price in values(bar)[:4])


def test_path_moves_and_another_seed_or_session_is_another_path() -> None:
    bar = daily()
    closes = [made.close for made in bridge_session(bar, OPENS, CLOSES)]
    assert len(set(closes)) > 30
    assert closes != [made.close for made in bridge_session(bar, OPENS, CLOSES, seed=1)]
    other = replace(bar, bar_time=daily_bar_time(dt.date(2013, 3, 4), "XNYS"))
    assert closes != [made.close for made in bridge_session(other, OPENS, CLOSES)]
    assert closes != [made.close for made in bridge_session(replace(bar, symbol="IBM"), OPENS, CLOSES)]


def test_volume_is_higher_at_both_ends_than_at_noon() -> None:
    volumes = [float(bar.volume or 0) for bar in bridge_session(daily(), OPENS, CLOSES)]
    ends, noon = sum(volumes[:10]) + sum(volumes[-10:]), sum(volumes[29:49])
    assert ends > 1.5 * noon


def test_early_close_has_fewer_bars() -> None:
    assert len(bridge_session(daily(), OPENS, OPENS + dt.timedelta(hours=3, minutes=30))) == 42


def test_path_is_pinned() -> None:
    # another digest would mean that a replay after an upgrade publishes other bars than the one before it
    text = "|".join(",".join(map(str, values(bar))) for bar in bridge_session(daily(), OPENS, CLOSES))
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED


def test_flat_session_gives_flat_bars() -> None:
    bars = bridge_session(daily(("5", "5", "5", "5"), "0"), OPENS, CLOSES)
    assert {values(bar) for bar in bars} == {(Decimal(5),) * 4 + (Decimal(0),)}


def test_negative_prices_of_a_commodity_are_bridged() -> None:
    bar = replace(daily(("17.73", "17.85", "-40.32", "-37.63")), asset_class=AssetClass.COMMODITY)
    bars = bridge_session(bar, OPENS, CLOSES)
    assert aggregate(bars) == values(bar)


def test_only_a_daily_bar_with_hours_can_be_bridged() -> None:
    with pytest.raises(UsageError, match="only a daily bar"):
        bridge_session(replace(daily(), interval=Interval.M60), OPENS, CLOSES)
    with pytest.raises(UsageError, match="no 5-minute bar"):
        bridge_session(daily(), OPENS, OPENS)


@given(daily_bars(), st.integers(1, 78))
@settings(deadline=None)
def test_provisional_bar_is_what_the_first_bars_show(bar: Bar, known: int) -> None:
    bars = bridge_session(bar, OPENS, CLOSES)[:known]
    made = provisional_daily(bars)
    assert values(made) == aggregate(bars)
    assert (made.status, made.synthetic, made.source) == (Status.PROVISIONAL, True, "bridge")
    assert made.interval is Interval.D1
    assert made.bar_time == bar.bar_time
    assert made.as_of == bars[-1].as_of
    validate_bar(made)


def test_provisional_bar_of_nothing_or_of_two_sessions_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one"):
        provisional_daily([])
    bars = bridge_session(daily(), OPENS, CLOSES)
    with pytest.raises(UsageError, match="one session"):
        provisional_daily([bars[0], replace(bars[1], bar_time=bars[1].bar_time + dt.timedelta(days=3))])
