"""Selection, header, markup and columns: pure parts of the page."""

import datetime as dt
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from panel_app import markup, plots
from panel_app.board import (
    BEAT_PATIENCE_S,
    KAFKA,
    LAST_BARS_S,
    MYSQL,
    PATIENCE_S,
    Checks,
    Status,
    age_text,
    header_badges,
    replay_at,
    replay_of,
)
from panel_app.selection import Selection, choose, from_address, ranges_of
from panel_app.series import tail_bar
from streamlake_assets.market.clock import MarketTime, ReplayState
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.market.types import Status as BarStatus
from streamlake_assets.stores.page_rows import ForecastValues, Listed, NextForecast
from streamlake_assets_tests.panel.page_data import daily, day, five_minutes

NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
IBM, AAPL = Instrument("IBM", "XNYS"), Instrument("AAPL", "XNAS")
LISTED = (
    Listed(AAPL, AssetClass.STOCK, "Apple", (Interval.D1,)),
    Listed(IBM, AssetClass.STOCK, None, (Interval.M5, Interval.D1)),
    Listed(Instrument("IBM", "XLON"), AssetClass.STOCK, None, (Interval.D1,)),
)
PAYLOADS = [
    b"'; DROP TABLE bars; --",
    b"<script>alert(1)</script>",
    b"IBM' OR '1'='1",
    b"../../etc/passwd",
    b"\xff\xfe\x00",
    b"IBM\n",
    b"ibm",
    b"{{7*7}}",
    b"1d; --",
    b"A" * 100_000,
    "ＩＢＭ".encode(),
    b"",
]


def forecast(target: Target, *values: float, skill: bool = False, known: int = 9) -> NextForecast:
    said = ForecastValues(
        session=day(known + 1),
        known_session=day(known),
        point=values[0],
        low=values[1],
        high=values[2],
        baseline=0.0,
        coverage=0.9,
    )
    return NextForecast(target=target, model_version="v1", engine="sklearn", has_skill=skill, values=said)


def test_an_address_names_a_selection_and_the_selection_names_the_address() -> None:
    selection = from_address(
        LISTED, {"symbol": [b"IBM"], "exchange": [b"XNYS"], "interval": [b"5m"], "range": [b"5-days"]}
    )
    assert selection == Selection(IBM, Interval.M5, "5 days")
    query = {name: [value.encode()] for name, value in selection.query(LISTED).items()}
    assert from_address(LISTED, query) == selection
    assert "exchange" not in Selection(AAPL, Interval.D1, "all").query(LISTED)


@pytest.mark.parametrize("name", ["symbol", "exchange", "interval", "range"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_address_gives_a_selection_from_the_list(name: str, payload: bytes) -> None:
    selection = from_address(LISTED, {name: [payload]})
    assert selection == choose(LISTED)


@given(st.dictionaries(st.sampled_from(["symbol", "exchange", "interval", "range"]), st.lists(st.binary(), max_size=2)))
def test_whatever_the_address_holds_the_selection_is_one_of_the_things_there_are(
    arguments: dict[str, list[bytes]],
) -> None:
    selection = from_address(LISTED, arguments)
    assert selection is not None
    one = next(one for one in LISTED if one.instrument == selection.instrument)
    assert selection.interval in one.intervals and selection.range in ranges_of(selection.interval)


def test_an_interval_the_instrument_does_not_have_gives_way_to_daily_bars() -> None:
    selection = choose(LISTED, "AAPL", interval="5m")
    assert selection is not None and selection.interval is Interval.D1


def test_nothing_can_be_chosen_before_there_is_an_instrument() -> None:
    assert choose(()) is None


def texts(status: Status) -> list[str]:
    return [badge.text for badge in header_badges(status, NOW)]


def test_the_header_names_each_server_that_is_down() -> None:
    shown = texts(Status(market=MarketTime(), down=(KAFKA, MYSQL)))
    assert "Kafka does not answer" in shown and "MySQL does not answer" in shown
    assert "all servers answer" not in shown


def test_live_data_are_stale_by_arrival_and_a_finished_replay_is_not() -> None:
    old = MarketTime(session=dt.date(2013, 1, 14), last_arrival=NOW - dt.timedelta(hours=3))
    assert "stale: nothing for 3 h" in texts(Status(market=old, lag=0))
    assert texts(Status(market=old, lag=0))[0] == "market 2013-01-14", "what is late is not live"
    finished = MarketTime(session=old.session, last_arrival=old.last_arrival, replay=ReplayState.FINISHED)
    assert texts(Status(market=finished, lag=1234)) == [
        "market 2013-01-14, replay finished",
        "last arrival 3 h ago",
        "lag 1,234",
        "all servers answer",
    ]


@pytest.mark.parametrize(("unseen", "expected"), [(1, "1 alert unseen"), (1200, "1,200 alerts unseen")])
def test_the_header_counts_the_alerts_that_nobody_has_seen(unseen: int, expected: str) -> None:
    assert any(text.startswith(expected) for text in texts(Status(market=MarketTime(), unseen_alerts=unseen)))
    assert not any("unseen" in text for text in texts(Status(market=MarketTime())))


def test_a_check_that_takes_too_long_counts_as_no_answer_and_recovers() -> None:
    checks = Checks()
    checks.asked(MYSQL, 100.0)
    assert checks.down(100.0 + PATIENCE_S / 2) == ()
    assert checks.down(100.1 + PATIENCE_S) == (MYSQL,)
    assert checks.answered(MYSQL, True)
    assert checks.down(200.0) == ()
    assert not checks.answered(MYSQL, True)


def test_the_replay_says_its_state_and_pace() -> None:
    assert replay_of(None) == (ReplayState.LIVE, None)
    assert replay_of({"state": "running", "sessions_per_second": 2}) == (ReplayState.RUNNING, 2.0)
    assert replay_of({"state": "running", "sessions_per_second": None}) == (ReplayState.RUNNING, None)
    assert replay_of({"state": "nonsense"}) == (ReplayState.LIVE, None)


def seconds(number: float) -> dt.timedelta:
    return dt.timedelta(seconds=number)


def judged(
    state: str, *, age: float, pace: float | None = None, arrival: float | None = 0.0
) -> tuple[ReplayState, float | None]:
    """Judge a heartbeat that is ``age`` seconds old; the last bar came ``arrival`` seconds after it."""
    beat_at = NOW - seconds(age)
    last = None if arrival is None else beat_at + seconds(arrival)
    return replay_at(NOW, (beat_at, {"state": state, "sessions_per_second": pace}), last)


def test_without_a_heartbeat_data_are_live() -> None:
    assert replay_at(NOW, None, NOW) == (ReplayState.LIVE, None)
    assert judged("nonsense", age=1) == (ReplayState.LIVE, None)


@pytest.mark.parametrize(
    ("pace", "limit"), [(None, BEAT_PATIENCE_S), (2.0, BEAT_PATIENCE_S), (0.1, BEAT_PATIENCE_S), (0.05, 60.0)]
)
def test_a_replay_runs_as_long_as_it_is_heard_of_and_is_paused_then(pace: float | None, limit: float) -> None:
    assert judged("running", age=limit, pace=pace) == (ReplayState.RUNNING, pace)
    assert judged("running", age=limit, pace=pace, arrival=None) == (ReplayState.RUNNING, pace)
    assert judged("running", age=limit + 0.1, pace=pace) == (ReplayState.PAUSED, None)
    # its last bars may have come after its last heartbeat; later ones are not its own
    assert judged("running", age=86_400, pace=pace, arrival=limit) == (ReplayState.PAUSED, None)
    assert judged("running", age=86_400, pace=pace, arrival=limit + 0.1) == (ReplayState.LIVE, None)


def test_the_slowest_pace_there_is_can_be_judged() -> None:
    assert judged("running", age=86_400, pace=5e-324) == (ReplayState.RUNNING, 5e-324)


@pytest.mark.parametrize("state", [ReplayState.FINISHED, ReplayState.PAUSED])
@pytest.mark.parametrize("age", [0.0, 60.0, 1e7])
def test_a_replay_that_owes_nothing_has_its_say_until_a_bar_arrives(state: ReplayState, age: float) -> None:
    assert judged(state.value, age=age, pace=2.0) == (state, None)
    assert judged(state.value, age=age, arrival=-3600) == (state, None)
    assert judged(state.value, age=age, arrival=None) == (state, None)
    assert judged(state.value, age=age, arrival=LAST_BARS_S) == (state, None)
    assert judged(state.value, age=age, arrival=LAST_BARS_S + 0.1) == (ReplayState.LIVE, None)


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "3 s"), (119, "119 s"), (600, "10 min"), (10_800, "3 h"), (864_000, "10 days")]
)
def test_ages_have_the_largest_fitting_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_names_from_data_are_escaped() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    card = NextForecast(target=Target.LOG_RANGE, model_version=hostile, engine=hostile, has_skill=False, values=None)
    made = markup.heading(hostile, None, None, hostile, hostile) + markup.forecast_cards([card])
    assert "<img" not in made and "&lt;img" in made


def test_forecast_cards_say_what_is_known_and_what_is_not() -> None:
    assert "not known yet" in markup.forecast_cards(None)
    assert markup.forecast_cards([]).count("no forecast yet: no model") == 2
    made = markup.forecast_cards(
        [forecast(Target.ADJUSTED_RETURN, 0.0, -0.02, 0.02), forecast(Target.LOG_RANGE, 0.03, 0.01, 0.06, skill=True)]
    )
    assert (
        "no skill on direction" in made and ">skill on risk<" in made and "90% interval" in made and "model v1" in made
    )


def test_columns_tell_provisional_and_synthetic_bars_apart() -> None:
    settled, waiting = daily("IBM", 3), daily("IBM", 4, status=BarStatus.PROVISIONAL)
    made = five_minutes("IBM", 3, 1)[0]
    columns = plots.columns([tail_bar(bar, 50) for bar in (settled, waiting)], 7, Interval.D1, "XNYS")
    assert columns["n"] == [7, 8]
    assert columns["alpha"][1] < columns["alpha"][0]
    assert columns["note"] == ["settled", "provisional"]
    assert columns["label"] == [day(3).isoformat(), day(4).isoformat()]
    synthetic = plots.columns([tail_bar(made, 10)], 0, Interval.M5, "XNYS")
    assert synthetic["note"] == ["synthetic"] and synthetic["colour"][0] not in columns["colour"]
    assert synthetic["label"] == [f"{day(3)} 09:30"]


def test_a_bar_without_volume_has_no_volume_column() -> None:
    bar = tail_bar(daily("IBM", 0), 50)
    without = type(bar)(bar.bar_time, bar.open, bar.high, bar.low, bar.close, None, bar.status, False, bar.version)
    assert math.isnan(plots.columns([without], 0, Interval.D1, "XNYS")["volume"][0])


def test_a_forecast_is_drawn_around_the_last_close() -> None:
    said = [forecast(Target.ADJUSTED_RETURN, 0.01, -0.02, 0.04), forecast(Target.LOG_RANGE, 0.03, 0.01, 0.06)]
    drawn = {name: values[0] for name, values in plots.forecast_columns(said, 200.0, day(10), 42).items()}
    assert drawn["n"] == 42 and drawn["label"] == day(10).isoformat()
    assert drawn["point"] == pytest.approx(200 * math.exp(0.01))
    assert drawn["low"] == pytest.approx(200 * math.exp(-0.02)) and drawn["high"] == pytest.approx(200 * math.exp(0.04))
    assert math.log(drawn["band_high"] / drawn["band_low"]) == pytest.approx(0.03)
    assert math.log(drawn["outer_high"] / drawn["outer_low"]) == pytest.approx(0.06)
    assert drawn["least"] <= drawn["low"] and drawn["most"] >= drawn["high"]


def test_no_forecast_is_drawn_without_a_close_to_stand_on() -> None:
    said = [forecast(Target.ADJUSTED_RETURN, 0.01, -0.02, 0.04)]
    assert plots.forecast_columns(said, None, day(10), 0)["n"] == []
    assert plots.forecast_columns(said, 200.0, day(11), 0)["n"] == []


def test_the_window_shows_the_range_and_fits_the_heights() -> None:
    bars = [tail_bar(daily("IBM", number), 50) for number in range(100)]
    start, end = plots.window(bars, 0, 21, Interval.D1, "XNYS")
    assert [number for number in range(100) if number >= start] == list(range(79, 100)) and end > 99
    chart = plots.make_chart()
    chart.bars.data = plots.columns(bars, 0, Interval.D1, "XNYS")
    plots.fit(chart, bars, start, end)
    heights = chart.price.y_range.properties_with_values()
    assert heights["start"] < min(bar.low for bar in bars[79:])
    assert heights["end"] > max(bar.high for bar in bars[79:])


def test_the_window_of_intraday_bars_counts_sessions() -> None:
    bars = [tail_bar(bar, 10) for number in (1, 2, 3) for bar in five_minutes("IBM", number, 10)]
    start, _ = plots.window(bars, 0, 2, Interval.M5, "XNYS")
    assert next(number for number in range(30) if number >= start) == 10


def test_moving_averages_begin_when_their_window_is_full() -> None:
    bars = [tail_bar(daily("IBM", number), 50) for number in range(60)]
    made = plots.means(bars, 5)
    window = plots.MEANS["short"][0]
    assert made["n"][0] == 5 and math.isnan(made["short"][window - 2]) and math.isnan(made["long"][40])
    for place in (window - 1, 59):
        assert made["short"][place] == pytest.approx(
            sum(bar.close for bar in bars[place - window + 1 : place + 1]) / window
        )
