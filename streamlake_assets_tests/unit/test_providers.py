"""Providers against a local fake with their real shapes and errors: what is taken, said, and never shown."""

import datetime as dt
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import stamina

from streamlake_assets.commands.fetch import Wanted, fetch
from streamlake_assets.errors import BadRecordError, IntegrityError, SettingError, TryLaterError, UsageError
from streamlake_assets.market.sessions import UTC, daily_bar_time
from streamlake_assets.market.types import ActionKind, AssetClass, Bar, Instrument, Interval, Status
from streamlake_assets.sources import alpha_vantage, massive
from streamlake_assets.sources.http_json import ATTEMPTS, JsonApi
from streamlake_assets_tests.fake_api import KEY, Answer, Asked, FakeApi, fake_api

NOW = dt.datetime(2024, 6, 1, tzinfo=UTC)
AAPL = Instrument("AAPL", "XNAS")
FIRST, LAST = dt.date(2020, 1, 2), dt.date(2020, 1, 3)


class Unlimited:
    """A quota that only counts."""

    taken = 0
    wait_s = 0.0

    def take(self) -> float:
        self.taken += 1
        return self.wait_s


@pytest.fixture(autouse=True)
def _no_waits() -> Iterator[None]:
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield


@pytest.fixture
def fake() -> Iterator[FakeApi]:
    with fake_api() as found:
        yield found


@pytest.fixture
def quota() -> Unlimited:
    return Unlimited()


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture(params=["massive", "alpha-vantage"])
def api(request: pytest.FixtureRequest, fake: FakeApi, quota: Unlimited, slept: list[float]) -> Iterator[JsonApi]:
    with client(request.param, fake, quota, slept) as made:
        yield made


@pytest.fixture
def m_api(fake: FakeApi, quota: Unlimited, slept: list[float]) -> Iterator[JsonApi]:
    with client("massive", fake, quota, slept) as made:
        yield made


@pytest.fixture
def av_api(fake: FakeApi, quota: Unlimited, slept: list[float]) -> Iterator[JsonApi]:
    with client("alpha-vantage", fake, quota, slept) as made:
        yield made


def client(provider: str, fake: FakeApi, quota: Unlimited, slept: list[float], timeout_s: float = 10.0) -> JsonApi:
    return JsonApi(
        provider,
        fake.url,
        KEY,
        quota,
        key_setting="STREAMLAKE_KEY",
        bearer=provider == "massive",
        timeout_s=timeout_s,
        sleep=slept.append,
    )


def rejects(error: BadRecordError) -> None:
    raise error


def read(api: JsonApi, interval: Interval = Interval.D1, **changes: Any) -> list[Bar]:
    module = massive.aggregates if api.provider == "massive" else alpha_vantage.time_series
    given = {"first": FIRST, "last": LAST, "now": NOW, "on_reject": rejects, **changes}
    return list(module(api, AAPL, AssetClass.STOCK, interval, **given))


def aggregate(day: int = 2, **changes: Any) -> dict[str, Any]:
    # the provider sends a daily bar's time as New York's midnight
    start = dt.datetime(2020, 1, day, 5, tzinfo=UTC)
    values = {"v": 135647456.5, "vw": 74.6099, "o": 74.06, "c": 75.0875, "h": 75.15, "l": 73.7975, "n": 1}
    return {**values, "t": int(start.timestamp() * 1000), **changes}


def page(*results: dict[str, Any], **changes: Any) -> Answer:
    body = {
        "ticker": "AAPL",
        "adjusted": False,
        "queryCount": len(results),
        "resultsCount": len(results),
        "request_id": "1",
        "status": "OK",
        "results": list(results),
        **changes,
    }
    return Answer(body={name: value for name, value in body.items() if value is not None})


def series(interval: str, rows: dict[str, dict[str, str]], symbol: str = "AAPL") -> Answer:
    name = "Time Series (Daily)" if interval == "Daily" else f"Time Series ({interval})"
    meta = {"1. Information": "…", "2. Symbol": symbol, "3. Last Refreshed": "2020-01-03", "5. Time Zone": "US/Eastern"}
    return Answer(body={"Meta Data": meta, name: rows})


def row(close: str = "75.0875", **changes: str) -> dict[str, str]:
    return {
        "1. open": "74.0600",
        "2. high": "75.1500",
        "3. low": "73.7975",
        "4. close": close,
        "5. volume": "135647456",
        **changes,
    }


# what is taken


def test_massive_bars_are_raw_exact_and_at_the_midnight_of_their_session(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(aggregate(2), aggregate(3)))
    first, second = read(m_api)
    assert (first.open, first.close, first.volume, first.vwap, first.trades) == (
        *(Decimal("74.06"), Decimal("75.0875"), Decimal("135647456.5"), Decimal("74.6099")),
        1,
    )
    assert [bar.bar_time for bar in (first, second)] == [daily_bar_time(day, "XNAS") for day in (FIRST, LAST)]
    assert (first.source, first.status, first.synthetic) == ("massive", Status.SETTLED, False)
    (asked,) = fake.asked
    assert asked.path == "/v2/aggs/ticker/AAPL/range/1/day/2020-01-02/2020-01-03"
    assert asked.parameters == {"adjusted": "false", "sort": "asc", "limit": "50000"}
    assert asked.authorization == f"Bearer {KEY}"


def test_what_is_fetched_again_unchanged_is_the_same_version(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(aggregate(2)))
    (once,), (again,) = read(m_api), read(m_api, now=NOW + dt.timedelta(days=3))
    assert once.as_of == again.as_of


def test_a_bar_that_is_not_over_is_provisional(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(aggregate(2)))
    moment = daily_bar_time(FIRST, "XNAS") + dt.timedelta(hours=12)
    (bar,) = read(m_api, now=moment)
    assert (bar.status, bar.as_of) == (Status.PROVISIONAL, moment)


def test_pages_are_followed_to_the_last_without_a_key_in_the_address(
    m_api: JsonApi, fake: FakeApi, quota: Unlimited
) -> None:
    following = f"{fake.url}/v2/aggs/ticker/AAPL?cursor=abc"
    fake.answers(page(aggregate(2), next_url=following), page(aggregate(3)))
    assert len(read(m_api)) == 2
    assert fake.asked[1] == Asked("/v2/aggs/ticker/AAPL", {"cursor": "abc"}, f"Bearer {KEY}")
    assert quota.taken == 2


def test_an_empty_result_is_no_error(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(results=None))
    assert read(m_api) == []


def test_adjusted_bars_are_refused(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(aggregate(2), adjusted=True))
    with pytest.raises(IntegrityError, match="adjusted"):
        read(m_api)


def test_pages_that_go_in_circles_or_to_another_host_end(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(next_url=f"{fake.url}/again"))
    with pytest.raises(IntegrityError, match="without end"):
        read(m_api)
    fake.answers(page(next_url="http://localhost:1/steal"))
    with pytest.raises(TryLaterError, match="another host"):
        read(m_api)


def test_a_bar_that_breaks_the_contract_is_handed_out_and_the_rest_is_taken(m_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(page(aggregate(2, h=1.0), aggregate(3)))
    refused: list[BadRecordError] = []
    assert len(read(m_api, on_reject=refused.append)) == 1
    assert [error.reason for error in refused] == ["price_order"]


def test_splits_and_dividends_become_factors(m_api: JsonApi, fake: FakeApi) -> None:
    splits = [{"execution_date": "2020-08-31", "split_from": 1, "split_to": 4, "ticker": "AAPL"}]
    dividends = [
        {"ex_dividend_date": "2020-08-07", "cash_amount": 0.82, "currency": "USD"},
        {"ex_dividend_date": "2020-08-07", "cash_amount": 0.18, "currency": "USD"},
        {"ex_dividend_date": "2020-01-01", "cash_amount": 1.0},
    ]
    fake.script = lambda asked: Answer(
        body={"status": "OK", "results": splits if asked.path.endswith("splits") else dividends}
    )
    closes = {dt.date(2020, 8, 6): Decimal(400), dt.date(2020, 8, 7): Decimal(440)}
    found, skipped = massive.corporate_actions(m_api, AAPL, dt.date(2020, 1, 1), dt.date(2020, 12, 31), closes)
    assert [(one.kind, one.ex_date, one.factor) for one in found] == [
        (ActionKind.DIVIDEND, dt.date(2020, 8, 7), Decimal("0.9975")),
        (ActionKind.SPLIT, dt.date(2020, 8, 31), Decimal("0.25")),
    ]
    assert skipped == 1, "no close before it"


def test_alpha_vantage_days_and_minutes_are_read_in_their_zone(av_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(series("Daily", {"2020-01-03": row(), "2020-01-02": row(), "2019-12-31": row()}))
    assert [bar.bar_time for bar in read(av_api)] == [daily_bar_time(day, "XNAS") for day in (FIRST, LAST)]
    assert fake.asked[0].parameters == {
        "function": "TIME_SERIES_DAILY",
        "symbol": "AAPL",
        "outputsize": "full",
        "apikey": KEY,
    }
    fake.answers(series("1min", {"2020-01-02 09:31:00": row(), "2020-01-02 09:30:00": row()}))
    bars = read(av_api, Interval.M1, last=FIRST)
    assert [bar.bar_time for bar in bars] == [dt.datetime(2020, 1, 2, 14, minute, tzinfo=UTC) for minute in (30, 31)]
    assert fake.asked[1].parameters["adjusted"] == "false"
    assert (bars[0].close, bars[0].volume) == (Decimal("75.0875"), Decimal(135647456))


def test_alpha_vantage_is_asked_month_by_month(av_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(series("5min", {}))
    read(av_api, Interval.M5, first=dt.date(2019, 12, 30), last=dt.date(2020, 2, 1))
    assert [asked.parameters["month"] for asked in fake.asked] == ["2019-12", "2020-01", "2020-02"]


def test_another_symbol_or_shape_is_never_taken(av_api: JsonApi, fake: FakeApi) -> None:
    fake.answers(series("Daily", {"2020-01-02": row()}, symbol="MSFT"))
    with pytest.raises(IntegrityError, match="MSFT"):
        read(av_api)
    fake.answers(Answer(body={"Surprise": {}}))
    with pytest.raises(IntegrityError, match="Surprise"):
        read(av_api)


@pytest.mark.parametrize("bad", [row(close="None"), {"1. open": "1"}])
def test_a_row_that_is_no_bar_is_handed_out(av_api: JsonApi, fake: FakeApi, bad: dict[str, str]) -> None:
    fake.answers(series("Daily", {"2020-01-02": bad, "2020-01-03": row()}))
    refused: list[BadRecordError] = []
    assert len(read(av_api, on_reject=refused.append)) == 1
    assert len(refused) == 1


# what is said, for both

THROTTLED = {
    "status": "ERROR",
    "request_id": "1",
    "error": "You've exceeded the maximum requests per minute, please wait",
}
DENIED = {"status": "NOT_AUTHORIZED", "request_id": "1", "message": "You are not entitled to this data. Please upgrade"}
ERRORS: list[tuple[str, Answer, type[Exception], int]] = [
    ("massive", Answer(401, {"status": "ERROR", "error": "Unknown API Key"}), SettingError, 1),
    ("massive", Answer(403, DENIED), SettingError, 1),
    ("massive", Answer(200, DENIED), SettingError, 1),
    ("massive", Answer(404, {"status": "NOT_FOUND", "message": "Ticker not found"}), UsageError, 1),
    ("massive", Answer(429, THROTTLED), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, THROTTLED), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, {"status": "ERROR", "error": "bad timespan"}), UsageError, 1),
    ("massive", Answer(500, {"status": "ERROR"}), TryLaterError, ATTEMPTS),
    ("massive", Answer(502, "<html>Bad gateway</html>", "text/html"), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, "<html>Please log in</html>", "text/html"), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, "", "text/plain"), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, "[1, 2]"), TryLaterError, ATTEMPTS),
    ("massive", Answer(302, "", headers=(("location", "http://localhost:1/"),)), UsageError, 1),
    ("massive", Answer(400, {"status": "ERROR", "error": "no"}), UsageError, 1),
    ("massive", Answer(200, {"results": [{"t": "noon"}]}), IntegrityError, 1),
    ("massive", Answer(hang_up=True), TryLaterError, ATTEMPTS),
    ("massive", Answer(200, {}, wait_s=0.6), TryLaterError, ATTEMPTS),
    ("alpha-vantage", Answer(body={"Error Message": "Invalid API call. Please retry"}), UsageError, 1),
    ("alpha-vantage", Answer(body={"Error Message": "the parameter apikey is invalid or missing"}), SettingError, 1),
    (
        "alpha-vantage",
        Answer(body={"Note": "Our standard API call frequency is 5 calls per minute and 500 calls per day."}),
        TryLaterError,
        ATTEMPTS,
    ),
    (
        "alpha-vantage",
        Answer(body={"Information": f"We have detected your API key as {KEY} and our limit is 25 requests per day."}),
        TryLaterError,
        1,
    ),
    ("alpha-vantage", Answer(body={"Information": "This is a premium endpoint."}), SettingError, 1),
    ("alpha-vantage", Answer(body={"Information": "Something new"}), TryLaterError, ATTEMPTS),
    ("alpha-vantage", Answer(body={}), UsageError, 1),
    ("alpha-vantage", Answer(503, "<html>", "text/html"), TryLaterError, ATTEMPTS),
]


@pytest.mark.parametrize(("provider", "answer", "kind", "calls"), ERRORS)
def test_errors_are_told_apart_and_only_what_may_pass_is_tried_again(
    fake: FakeApi,
    quota: Unlimited,
    slept: list[float],
    provider: str,
    answer: Answer,
    kind: type[Exception],
    calls: int,
) -> None:
    fake.answers(answer)
    # only an answer that is meant to be late may be
    timeout_s = 0.3 if answer.wait_s else 10.0
    with client(provider, fake, quota, slept, timeout_s) as api, pytest.raises(kind) as raised:
        read(api)
    assert type(raised.value) is kind or kind is TryLaterError
    assert len(fake.asked) == quota.taken == calls
    assert KEY not in str(raised.value)


def test_an_outage_that_passes_is_not_noticed(api: JsonApi, fake: FakeApi) -> None:
    good = page(aggregate(2)) if api.provider == "massive" else series("Daily", {"2020-01-02": row()})
    fake.answers(Answer(500, {}), Answer(503, "<html>", "text/html"), good)
    assert len(read(api)) == 1


def test_the_quota_is_waited_for(api: JsonApi, fake: FakeApi, quota: Unlimited, slept: list[float]) -> None:
    quota.wait_s = 12.5
    fake.answers(page(aggregate(2)) if api.provider == "massive" else series("Daily", {"2020-01-02": row()}))
    read(api)
    assert slept == [12.5]


def test_the_key_is_never_shown(api: JsonApi, fake: FakeApi, caplog: pytest.LogCaptureFixture) -> None:
    fake.answers(Answer(404, {"message": f"no such thing for {KEY} or {'secret%2Bkey%2F42'}"}))
    with caplog.at_level(logging.DEBUG), pytest.raises(UsageError) as raised:
        read(api)
    shown = str(raised.value) + repr(raised.value.__context__) + caplog.text
    assert "secret" not in shown
    assert "[key]" in str(raised.value)


def test_without_a_key_nothing_is_called(fake: FakeApi, quota: Unlimited) -> None:
    with pytest.raises(SettingError, match="STREAMLAKE_KEY"):
        JsonApi("massive", fake.url, "", quota, key_setting="STREAMLAKE_KEY", bearer=True)
    assert fake.asked == []


# what a fetch makes of it


def test_bars_outside_the_hours_of_the_exchange_are_counted_and_left_out(m_api: JsonApi, fake: FakeApi) -> None:
    def minute(hour: int, minute: int) -> dict[str, Any]:
        return aggregate(2, t=int(dt.datetime(2020, 1, 2, hour, minute, tzinfo=UTC).timestamp() * 1000))

    fake.answers(page(minute(9, 0), minute(14, 30), minute(20, 59), minute(21, 0)))
    wanted = Wanted(["AAPL"], "XNAS", AssetClass.STOCK, Interval.M1, FIRST, LAST)
    found = fetch(m_api, AAPL, wanted)
    assert ([bar.bar_time.hour for bar in found.bars], found.outside_hours) == ([14, 20], 2)
    assert len(fetch(m_api, AAPL, wanted._replace(all_hours=True)).bars) == 4


def test_a_fetch_counts_what_is_refused(m_api: JsonApi, fake: FakeApi) -> None:
    fake.script = lambda asked: page(aggregate(2, l=-1.0), aggregate(3)) if "aggs" in asked.path else page()
    found = fetch(m_api, AAPL, Wanted(["AAPL"], "XNAS", AssetClass.STOCK, Interval.D1, FIRST, LAST))
    assert (len(found.bars), dict(found.rejected), found.actions) == (1, {"bad_price": 1}, [])
