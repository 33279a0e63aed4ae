"""The replay flow on the real NiFi and broker: what it publishes, what it refuses, what a fault costs: nothing."""

import datetime as dt
import os
import signal
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.broker.topics import describe_streams, ensure_topics, watermarks
from streamlake_assets.commands import nifi as commands
from streamlake_assets.commands.nifi_parameters import REPLAY, inbox
from streamlake_assets.errors import TryLaterError, UsageError
from streamlake_assets.market.contract import encode_bar
from streamlake_assets.market.types import Bar, Interval
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.nifi import LocalNifi
from streamlake_assets.servers.nifi_api import NifiApi
from streamlake_assets.servers.nifi_flow import normalised, read_flow
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.sidecar.ingest import IngestLoop
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.sources.bar_lines import write_bar_lines
from streamlake_assets.sources.replay_plan import plan_replay
from streamlake_assets.stores import bar_reader, migrate
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.digests import TableDigest, digests
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.bars import bar
from streamlake_assets_tests.conftest import print_line, recreate_database
from streamlake_assets_tests.servers.nifi_files import (
    GOOD,
    HEADER,
    arrived,
    drop,
    numbers,
    published,
    refused,
    wait_for_rejects,
)

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def flow(nifi: LocalNifi, kafka_server: LocalKafka, test_settings: Settings) -> Settings:
    """Settings with the flow deployed."""
    commands.deploy(test_settings, [REPLAY], {"replay.rate": "5000"}, print_line)
    return test_settings


@pytest.fixture
def topic(flow: Settings) -> str:
    """A topic of this test alone, to which the flow publishes."""
    name = f"nifi-bars-{next(numbers)}"
    ensure_topics(flow.kafka, [name])
    commands.set_parameters(flow, REPLAY, {"topic.bars": name})
    return name


def made_bars(number: int) -> Iterator[Bar]:
    begin = dt.datetime(2013, 1, 14, 14, 30, tzinfo=dt.UTC)
    for n in range(number):
        moment = begin + dt.timedelta(minutes=n)
        symbol, exchange = (("AAPL", "XNAS"), ("IBM", "XNYS"), ("MSFT", "XNAS"))[n % 3]
        yield bar(
            symbol=symbol,
            exchange=exchange,
            interval=Interval.M1,
            bar_time=moment,
            price=Decimal(1000 + n % 7) / 10,
            volume=Decimal(n),
            source="made.up",
            synthetic=True,
            event_time=moment,
            as_of=moment,
        )


def test_bars_arrive_with_key_labels_and_exact_numbers(flow: Settings, topic: str) -> None:
    exact = GOOD.replace("101.123456789", "10000000.1234567").replace("AAPL", "IBM", 1)
    drop(flow, f"{HEADER}\n{GOOD}\n{exact}\n")
    assert wait_until(lambda: arrived(flow, topic) == 2, 30)
    before = dt.datetime.now(dt.UTC)
    by_symbol = {bar.symbol: bar for bar in published(flow, topic)}
    assert by_symbol["IBM"].high == Decimal("10000000.1234567")
    apple = by_symbol["AAPL"]
    assert (apple.exchange, apple.name, apple.currency) == ("XNAS", "Apple Inc.", "USD")
    assert apple.bar_time == dt.datetime(2013, 1, 14, 5, tzinfo=dt.UTC), "never shifted"
    assert before - apple.event_time < dt.timedelta(seconds=60), "event_time is when it went on the wire"


def test_a_bad_line_costs_itself_and_says_why(flow: Settings, topic: str) -> None:
    lines = {
        "a number that is none": GOOD.replace("100.5,", "abc,"),
        "no number of a price": GOOD.replace("100.5,", "NaN,"),
        "an unknown symbol": GOOD.replace("AAPL", "ZZZZ"),
        "an open quote": '"' + GOOD,
        "another open quote": GOOD.replace(",99.1", ',"99.1'),
        "too many fields": GOOD + ",more",
        "too few fields": "AAPL,1d,2013",
    }
    quoted = '"AAPL","1d",' + GOOD.split(",", 2)[2]
    text = "\n".join([HEADER, GOOD, *(line for bad in lines.values() for line in (bad, GOOD)), quoted, ""])
    name = drop(flow, text)
    assert wait_until(lambda: len(refused(flow, name)) == len(lines), 30), refused(flow, name)
    assert wait_until(lambda: arrived(flow, topic) == len(lines) + 2, 30), "every good line"
    reasons = " | ".join(one["reason"] for one in refused(flow, name))
    assert all(part in reasons for part in ("/open", "reference file", "/low", "more fields", "were missing"))
    kept = wait_for_rejects(flow, name, len(lines))
    assert sorted(kept, key=str) == sorted(refused(flow, name), key=str), "the folder holds what the topic holds"


def test_a_file_that_is_no_such_file_is_refused_by_name(flow: Settings, topic: str) -> None:
    bad = {
        drop(flow, ""): "the file is empty",
        drop(flow, "date,open\n2013-01-14,1\n"): "but date,open",
        drop(flow, f"{HEADER}\n{GOOD}\n".encode("utf-16")): "is not the header",
        drop(flow, f"{HEADER}\n{GOOD.replace('AAPL', 'ÉCU')}\n".encode("latin-1")): "the symbol is not",
    }
    good = drop(flow, f"\ufeff{HEADER}\r\n{GOOD}\r\n")
    assert wait_until(lambda: len(refused(flow, *bad)) == len(bad), 30), refused(flow, *bad)
    assert all(bad[one["file"]] in one["reason"] for one in refused(flow, *bad))
    assert wait_until(lambda: arrived(flow, topic) == 1, 30), "a byte order mark and CRLF are no reason"
    assert not refused(flow, good)


def test_both_ways_give_equal_rows(flow: Settings, topic: str, mysql_server: LocalMysql) -> None:
    sample = bokeh_sample.load()
    step = plan_replay(sample.bars, sample.actions, held_back=3).live[-1]
    bars = [record for record in step.records() if isinstance(record, Bar)]
    other = f"{topic}-python"
    ensure_topics(flow.kafka, [other])
    with Publisher(flow.kafka) as publisher:
        for one in bars:
            publisher.send(other, one.symbol, encode_bar(one, dt.datetime.now(dt.UTC)))
    write_bar_lines(inbox(flow) / f"session-{next(numbers)}.csv", bars)
    assert wait_until(lambda: arrived(flow, topic) == len(bars), 30), arrived(flow, topic)
    rows = stored(flow, topic)
    assert rows == stored(flow, other)
    assert rows["bars"].rows == len(bars) - len(step.daily) and rows["bar_revisions"].rows == len(step.daily)


def stored(settings: Settings, topic: str) -> dict[str, TableDigest]:
    """Load a topic into an empty schema and return the digests of its tables, when it was sent left out."""
    recreate_database(settings)
    engine = make_engine(settings, DatabaseRole.MIGRATE)
    migrate.upgrade(engine)
    store = BarStore(engine, "test")
    ranges = {(topic, number): marks for number, marks in watermarks(settings.kafka, topic).items()}
    reader = RangeReader(settings.kafka, ranges)
    loop = IngestLoop(reader, store, describe_streams(settings.kafka, [topic]))
    loop.start_offsets(topic, [number for _, number in ranges])
    while not reader.done:
        loop.turn()
    loop.finish(10)
    reader.close()
    store.close()
    with bar_reader.snapshot(engine) as connection:
        found = digests(connection, leave_out=("event_time", "known_from"))
    engine.dispose()
    return {name: digest for name, digest in found.items() if name != "stream_offsets"}


def test_nothing_is_lost_when_kafka_is_away(flow: Settings, topic: str, kafka_server: LocalKafka) -> None:
    name = f"outage-{next(numbers)}.csv"
    with commands.connect(flow) as api:
        group = api.group(REPLAY)
        assert group is not None
        before = set(api.bulletins(group))
        kafka_server.stop()
        try:
            write_bar_lines(inbox(flow) / name, made_bars(300))
            assert wait_until(lambda: any("retry" in one for one in set(api.bulletins(group)) - before), 30), (
                "the flow has met the outage"
            )
        finally:
            kafka_server.start()

    def all_there() -> bool:
        try:
            return len({bar.bar_time for bar in published(flow, topic)}) == 300
        except TryLaterError:
            return False  # a broker that has just come back has no leaders yet

    assert wait_until(all_there, 60)
    assert not refused(flow, name), "a good row is no reject because of an outage"


def test_nothing_is_lost_when_nifi_or_its_python_process_is_killed(flow: Settings, topic: str, nifi: LocalNifi) -> None:
    commands.set_parameters(flow, REPLAY, {"replay.rate": "100", "records.per.message": "1"})
    write_bar_lines(inbox(flow) / f"kills-{next(numbers)}.csv", made_bars(1_500))
    assert wait_until(lambda: arrived(flow, topic) > 100, 30)
    assert nifi.child is not None and nifi.child.pid is not None
    for process in psutil.Process(nifi.child.pid).children(recursive=True):
        if "python" in process.name():
            process.kill()
    after_first = arrived(flow, topic)
    assert wait_until(lambda: arrived(flow, topic) > after_first + 100, 60), "another Python process goes on"
    os.kill(nifi.child.pid, signal.SIGKILL)
    assert wait_until(lambda: nifi.child is not None and not nifi.child.running, 10)
    before = arrived(flow, topic)
    assert before < 1_500, "it was in the middle"
    nifi.start()
    # so that the rest takes no minute
    assert wait_until(lambda: arrived(flow, topic) > before, 60), "it goes on by itself"
    commands.set_parameters(flow, REPLAY, {"replay.rate": "5000"})
    assert wait_until(lambda: len({bar.bar_time for bar in published(flow, topic)}) == 1_500, 60)
    # at least once: what was sent and not noted is sent again, and counts as "same"
    assert arrived(flow, topic) < 1_500 + 60


def test_deploy_changes_only_what_differs(flow: Settings, topic: str) -> None:
    commands.set_parameters(flow, REPLAY, {"replay.rate": "50", "records.per.message": "1"})
    again = commands.deploy(flow, [REPLAY], {"replay.rate": "77"}, print_line)
    assert again[0]["done"] == "unchanged" and again[0]["parameters_changed"] == ["replay.rate"]
    with commands.connect(flow) as api:
        group = api.group(REPLAY)
        assert group is not None
        changed = read_flow(REPLAY)
        changed["flowContents"]["processors"][0]["comments"] = "changed by hand"
        api.stop(group)
        api.replace(group, changed)
        assert normalised(api.download(group)) != read_flow(REPLAY)
    start = time.monotonic()
    done = commands.deploy(flow, [REPLAY], {"topic.bars": topic}, print_line)
    assert done[0]["done"] == "replaced"
    assert exported(flow) == read_flow(REPLAY), "the NiFi has what the file says, and exports it byte for byte"
    assert time.monotonic() - start < 60
    drop(flow, f"{HEADER}\n{GOOD}\n")
    assert wait_until(lambda: arrived(flow, topic) == 1, 30), "and it runs"


def exported(settings: Settings) -> dict[str, Any]:
    with commands.connect(settings) as api:
        group = api.group(REPLAY)
        assert group is not None
        return normalised(api.download(group))


def test_a_wrong_parameter_is_refused_by_name_before_anything_changes(flow: Settings) -> None:
    for given, problem in (
        ({"replay.rate": "fast"}, "replay.rate='fast': must be a whole number"),
        ({"kafka.bootstrap": "nowhere"}, "kafka.bootstrap='nowhere'"),
        ({"replay.speed": "1"}, "no parameter replay.speed"),
    ):
        with pytest.raises(UsageError, match=problem):
            commands.deploy(flow, [REPLAY], given, print_line)


def test_stop_and_start_leave_what_waits_in_place(flow: Settings, topic: str) -> None:
    commands.set_parameters(flow, REPLAY, {"replay.rate": "20", "records.per.message": "1"})
    write_bar_lines(inbox(flow) / f"held-{next(numbers)}.csv", made_bars(300))
    assert wait_until(lambda: arrived(flow, topic) > 0, 30)
    assert commands.stop(flow, [REPLAY]) == [REPLAY]
    state = [one for one in commands.status(flow)["flows"] if one["flow"] == REPLAY]
    assert state[0]["running"] == 0 and state[0]["parameters"]["topic.bars"] == topic
    assert state[0]["queued"] > 0, "it was in the middle"
    assert commands.run(flow, [REPLAY]) == [REPLAY]
    commands.set_parameters(flow, REPLAY, {"replay.rate": "5000"})
    assert wait_until(lambda: arrived(flow, topic) == 300, 30)


def test_the_flow_shows_its_reference_data_and_no_path_of_a_machine() -> None:
    project = Path(commands.__file__).parents[2]
    text = (project / "nifi" / f"{REPLAY}.json").read_text()
    assert (
        "/home/" not in text and f"{project.parent}/" not in text and "127.0.0.1" not in text and '"value"' not in text
    )
    assert HEADER in text, "the flow checks for the layout that is written"


def test_an_api_that_is_away_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(TryLaterError, match="no NiFi answers"), NifiApi("http://127.0.0.1:9") as api:
        api.version()
