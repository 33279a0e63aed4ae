"""The flows beside the replay on the real NiFi: files of other layouts, and providers behind real HTTP."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from streamlake_assets.broker.topics import REJECTS_TOPIC, ensure_topics
from streamlake_assets.commands import nifi as commands
from streamlake_assets.commands.nifi_parameters import EXTRA, PROVIDERS, REPLAY, extra, inbox
from streamlake_assets.market.types import Bar, Interval, Status
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.fake_api import Answer, Asked, FakeApi, fake_api
from streamlake_assets_tests.servers.nifi_files import arrived, drop_into, messages, published, refused

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
TOPIC = "nifi-extra-bars"
NEW_YORK_OPEN = 1_704_205_800_000
"""2024-01-02 14:30 UTC."""


@pytest.fixture(scope="module")
def api() -> Iterator[FakeApi]:
    with fake_api() as fake:
        fake.script = provider
        yield fake


def provider(asked: Asked) -> Answer:
    """Answer as the providers do, each symbol in another way."""
    if asked.path.startswith("/v2/aggs"):
        symbol = asked.path.split("/")[4]
        bar = {"v": 70790813.5, "vw": 131.6292, "o": 130.465, "c": 130.15, "h": 133.41, "l": 129.89, "n": 645365}
        raw = {"ticker": symbol, "resultsCount": 1, "adjusted": False, "status": "DELAYED"}
        bodies: dict[str, object] = {
            "AAPL": {**raw, "results": [{**bar, "t": NEW_YORK_OPEN}]},
            "IBM": {**raw, "adjusted": True, "results": [{**bar, "t": NEW_YORK_OPEN}]},
            "GOOG": {"status": "ERROR", "error": "Unknown API Key"},
            "FB": "<html>a proxy</html>",
        }
        return Answer(429, {"status": "ERROR"}) if symbol == "MSFT" else Answer(body=bodies[symbol])
    if asked.parameters["symbol"] == "AAPL":
        rows = ["timestamp,open,high,low,close,volume", "2024-01-02 15:55:00,160.9,161.2,160.8,161.0,123456"]
        return Answer(body="\r\n".join([*rows, ""]), content_type="application/x-download")
    return Answer(body={"Information": "the rate limit is 25 requests per day"})


@pytest.fixture(scope="module")
def flows(
    nifi: LocalNifi,
    kafka_server: LocalKafka,
    test_settings: Settings,
    api: FakeApi,
    tmp_path_factory: pytest.TempPathFactory,
) -> Settings:
    """All flows, imported into a NiFi that has none; the keys come from files."""
    ensure_topics(test_settings.kafka, [TOPIC])
    given = {
        "topic.bars": TOPIC,
        "replay.rate": "5000",
        "massive.url": api.url,
        "alpha_vantage.url": api.url,
        "massive.authorization": "Bearer geheim",
        "alpha_vantage.key": "auch geheim",
        "massive.symbols": "AAPL, IBM,MSFT,GOOG,FB",
        "alpha_vantage.symbols": "AAPL,IBM",
        "calls.per.minute": "60",
    }
    done = commands.deploy(test_settings, [], given, print_line)
    # in a run of this folder's tests this is the first deployment
    assert {one["done"] for one in done} <= {"imported", "unchanged"}
    assert {one["publisher"] for one in done} == {"PublishBars"}
    assert all(one["seconds"] < 30 for one in done)
    return test_settings


def of_source(settings: Settings, source: str) -> list[Bar]:
    return [bar for bar in published(settings, TOPIC) if bar.source == source]


def test_raw_bars_of_massive_arrive_and_all_else_is_told(flows: Settings, api: FakeApi) -> None:
    assert wait_until(lambda: len(of_source(flows, "massive")) == 1, 60), "only the raw ones"
    bar = of_source(flows, "massive")[0]
    assert (bar.symbol, bar.interval, bar.status) == ("AAPL", Interval.M5, Status.SETTLED)
    assert bar.bar_time == dt.datetime(2024, 1, 2, 14, 30, tzinfo=dt.UTC)
    assert bar.as_of == bar.bar_time + dt.timedelta(minutes=5), "its end: asked again it is the same version"
    assert (bar.high, bar.volume, bar.trades) == (Decimal("133.41"), Decimal("70790813.5"), 645365)
    expected = {
        "massive.IBM": "adjusted 'true'",
        "massive.MSFT": "HTTP 429",
        "massive.GOOG": "Unknown API Key",
        "massive.FB": "cannot be read",
        "alpha_vantage.IBM": "rate limit is 25",
    }
    assert wait_until(lambda: len(refused(flows, *expected)) == len(expected), 30), refused(flows, *expected)
    assert all(expected[one["file"]] in one["reason"] for one in refused(flows, *expected))
    assert {asked.authorization for asked in api.asked if asked.path.startswith("/v2")} == {"Bearer geheim"}
    assert all(asked.parameters["adjusted"] == "false" for asked in api.asked)


def test_alpha_vantage_speaks_new_york_time(flows: Settings) -> None:
    assert wait_until(lambda: len(of_source(flows, "alpha_vantage")) == 1, 60)
    bar = of_source(flows, "alpha_vantage")[0]
    assert (bar.symbol, bar.interval) == ("AAPL", Interval.M5)
    assert bar.bar_time == dt.datetime(2024, 1, 2, 20, 55, tzinfo=dt.UTC)


def test_keys_are_in_no_message_and_no_status(flows: Settings) -> None:
    shown = str(commands.status(flows)) + str(messages(flows, TOPIC)) + str(messages(flows, REJECTS_TOPIC))
    assert "***" in shown and "geheim" not in shown
    again = commands.deploy(
        flows, [PROVIDERS], {"massive.authorization": "Bearer geheim", "poll.period": "1 day"}, print_line
    )
    assert again[0]["done"] == "unchanged", "a secret that may not have changed can be set again"


def test_other_layouts_take_the_same_way(flows: Settings) -> None:
    table = (
        'Date,Open,High,Low,Close,Volume,Adj Close\n2013-01-14,100.5,101,99,100,12345,50.2\n2013-07-15,"7",8,6,7,1,3\n'
    )
    lines = [
        '{"symbol":"IBM","bar_time":"2013-01-14T05:00:00Z","open":100.5,"high":101.123456789,"low":99,"close":100}',
        '{"symbol":"IBM","interval":"5m","bar_time":"2013-01-14T14:30:00Z","open":1,"high":1,"low":1,"close":1,'
        '"status":"provisional","source":"own.name","synthetic":true}',
        "{broken",
        "[1,2]",
    ]
    drop_into(extra(flows), "AAPL.csv", table)
    drop_into(extra(flows), "more.jsonl", "\n".join(lines) + "\n")
    drop_into(extra(flows), "odd.csv", "a,b\n1,2\n")
    drop_into(extra(flows), "empty.jsonl", "")
    assert wait_until(lambda: len(of_source(flows, "extra.files")) == 3, 60)
    daily = [bar for bar in of_source(flows, "extra.files") if bar.symbol == "AAPL"]
    # midnight in New York, in winter and in summer
    assert [bar.bar_time.hour for bar in sorted(daily, key=lambda bar: bar.bar_time)] == [5, 4]
    assert [bar.high for bar in of_source(flows, "extra.files") if bar.symbol == "IBM"] == [Decimal("101.123456789")]
    own = of_source(flows, "own.name")
    assert [(bar.status, bar.synthetic) for bar in own] == [(Status.PROVISIONAL, True)]
    files = ("more.jsonl", "odd.csv", "empty.jsonl")
    assert wait_until(lambda: len(refused(flows, *files)) == 4, 30), refused(flows, *files)
    reasons = {one["reason"] for one in refused(flows, "more.jsonl")}
    assert reasons == {"line 3 is no JSON object", "line 4 is no JSON object"}
    assert Path(extra(flows) / "done" / "AAPL.csv").is_file(), "a user's file is kept"
    assert wait_until(lambda: not list(inbox(flows).glob("*.flow.csv")), 20), "a flow's is taken away"


def test_a_day_that_is_none_moves_no_bar(flows: Settings) -> None:
    drop_into(extra(flows), "FB.csv", "Date,Open,High,Low,Close,Volume\n2013-02-30,1,1,1,1,1\n2013-13-01,1,1,1,1,1\n")

    def texts() -> list[bytes]:
        return [one.value or b"" for one in messages(flows, TOPIC) if one.key == b"FB"]

    assert wait_until(lambda: len(texts()) == 2, 30)
    # as the file says them: the contract refuses them, as dead letters
    assert all(b'"bar_time":"' + day in text for day, text in zip((b"2013-02-30", b"2013-13-01"), texts(), strict=True))


def test_they_stop_when_told(flows: Settings) -> None:
    # the tests behind this one have topics of their own
    assert commands.stop(flows, [EXTRA, PROVIDERS]) == [EXTRA, PROVIDERS]
    assert arrived(flows, TOPIC) > 0 and commands.status(flows)["flows"][0]["running"] == 0
    assert {one["flow"] for one in commands.status(flows)["flows"]} == {EXTRA, PROVIDERS, REPLAY}
