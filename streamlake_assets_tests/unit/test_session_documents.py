import datetime as dt
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.market.session_documents import SessionBar, SessionDocument, session_document
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets_tests.bars import OPENS, SESSION, decimals

APPLE = Instrument("AAPL", "XNYS")


def one(place: int = 0, price: str = "10", volume: str | None = "100") -> SessionBar:
    """A five-minute bar, ``place`` bars after the opening."""
    at = Decimal(price)
    return SessionBar(
        OPENS + place * dt.timedelta(minutes=5),
        at, at, at, at,
        None if volume is None else Decimal(volume),
        None, False, "finance-data:0", place,
    )  # fmt: skip


def document(bars: list[SessionBar], interval: Interval = Interval.M5, complete: bool = True) -> SessionDocument:
    return session_document(APPLE, SESSION, interval, bars, complete)


@st.composite
def sessions(draw: st.DrawFn) -> list[SessionBar]:
    """Bars of one session in any order, with gaps, with and without own VWAPs."""
    places = draw(st.lists(st.integers(0, 77), min_size=1, max_size=12, unique=True))
    bars = []
    for place in places:
        low, first, last, high = sorted(draw(decimals()) for _ in range(4))
        bars.append(
            one(place)._replace(
                open=first, high=high, low=low, close=last,
                volume=draw(decimals(whole=15, least=0)),
                vwap=draw(st.none() | decimals()),
                place=draw(st.sampled_from(["finance-data:0", "finance-data:1"])),
                offset=draw(st.integers(0, 10**6)),
                synthetic=draw(st.booleans()),
            )
        )  # fmt: skip
    return bars


@given(sessions(), st.randoms(use_true_random=False))
def test_any_order_of_rows_gives_the_same_document(bars: list[SessionBar], random: object) -> None:
    shuffled = list(bars)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert document(shuffled) == document(bars)
    assert list(document(shuffled).watermark) == list(document(bars).watermark)


@given(sessions())
def test_sums_are_exact(bars: list[SessionBar]) -> None:
    made = document(bars)
    by_time = sorted(bars, key=lambda bar: bar.bar_time)
    assert made.values() == {
        "open": by_time[0].open,
        "high": max(bar.high for bar in bars),
        "low": min(bar.low for bar in bars),
        "close": by_time[-1].close,
        "volume": made.volume,
    }
    volumes = [Fraction(bar.volume or 0) for bar in bars]
    total = sum(volumes, Fraction(0))
    assert made.volume is not None and Fraction(made.volume) == total
    if len(bars) > 1 and total:
        prices = [Fraction(b.vwap) if b.vwap is not None else Fraction(b.high + b.low + b.close) / 3 for b in bars]
        exact = sum((p * v for p, v in zip(prices, volumes, strict=True)), Fraction(0)) / total
        assert made.vwap is not None and abs(Fraction(made.vwap) - exact) <= Fraction(1, 2 * 10**10) + Fraction(
            1, 10**30
        )


@given(sessions())
def test_bars_and_gaps_fill_the_time_between_first_and_last(bars: list[SessionBar]) -> None:
    made = document(bars)
    times = [bar.bar_time for bar in bars]
    assert made.bars == len(bars)
    assert made.bars + made.gaps == (max(times) - min(times)) // dt.timedelta(minutes=5) + 1


@given(sessions())
def test_the_watermark_is_the_highest_offset_of_each_partition(bars: list[SessionBar]) -> None:
    made = document(bars)
    for place, offset in made.watermark.items():
        assert offset == max(bar.offset for bar in bars if bar.place == place)
    assert made.watermark.keys() == {bar.place for bar in bars}
    assert made.synthetic == any(bar.synthetic for bar in bars)


def test_a_volume_of_31_digits_is_summed_without_rounding() -> None:
    made = document([one(0, volume="99999999999999900"), one(1, volume="0.0000000001")])
    assert made.volume == Decimal("99999999999999900.0000000001")


def test_two_bars_give_volatility_from_open_to_close_to_close() -> None:
    first = one(0)._replace(open=Decimal(100), high=Decimal(110), low=Decimal(100), close=Decimal(110))
    made = document([first, one(1, "99")])
    assert made.realised_volatility == pytest.approx(math.hypot(math.log(1.1), math.log(0.9)))


def test_one_bar_has_neither_vwap_nor_volatility() -> None:
    made = document([one()])
    assert (made.bars, made.vwap, made.realised_volatility, made.gaps) == (1, None, None, 0)


def test_a_price_below_zero_has_no_logarithm_but_a_document() -> None:
    made = document([one(0, "17.73"), one(1, "-37.63")])
    assert (made.low, made.close, made.realised_volatility) == (Decimal("-37.63"), Decimal("-37.63"), None)
    assert made.vwap == Decimal("-9.95")


@pytest.mark.parametrize("volumes", [(None, None), ("100", None), ("0", "0")])
def test_without_volume_there_is_no_vwap(volumes: tuple[str | None, str | None]) -> None:
    made = document([one(n, volume=volume) for n, volume in enumerate(volumes)])
    assert made.vwap is None
    assert made.volume == (None if volumes == (None, None) else sum(Decimal(v or 0) for v in volumes))


def test_the_key_and_the_daily_bar_time_are_the_exchanges() -> None:
    made = document([one()])
    assert made.key == "AAPL|XNYS|2013-01-14"
    assert made.bar_time == dt.datetime(2013, 1, 14, 5, tzinfo=dt.UTC)


def test_no_bars_are_no_session() -> None:
    with pytest.raises(ValueError, match="at least one bar"):
        document([])
