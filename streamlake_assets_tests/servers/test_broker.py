"""The real broker: topics as the contract says, keys where Java puts them, reading from offsets that we hold."""

import datetime as dt
import random
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.topics import PARTITIONS, client_config, describe_streams, ensure_topics, watermarks
from streamlake_assets.errors import IntegrityError, SettingError, TryLaterError
from streamlake_assets.settings import LOOPBACK
from streamlake_assets_tests.broker_members import (
    POLLS,
    Member,
    eventually,
    murmur2,
    numbers,
    remove,
    send,
)
from streamlake_assets_tests.conftest import free_port

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def admin(kafka: str) -> AdminClient:
    return AdminClient(client_config(kafka))


@pytest.fixture
def member(kafka: str) -> Iterator[Callable[..., Member]]:
    made: list[Member] = []

    def make(topic: str, offsets: dict[int, int] | None = None) -> Member:
        made.append(Member(kafka, topic, offsets))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


# topics


def test_topics_are_made_once_with_the_settings_of_the_contract(kafka: str, admin: AdminClient) -> None:
    names = [f"made-{next(numbers)}" for _ in range(2)]
    assert sorted(ensure_topics(kafka, names)) == names
    assert eventually(lambda: ensure_topics(kafka, names)) == []
    resource = ConfigResource(ResourceType.TOPIC, names[0])
    held = admin.describe_configs([resource])[resource].result()
    assert {name: held[name].value for name in ("retention.ms", "retention.bytes", "message.timestamp.type")} == {
        "retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime",
    }  # fmt: skip
    # a new partition has its leader a moment later
    assert eventually(lambda: watermarks(kafka, names[0])) == dict.fromkeys(range(PARTITIONS), (0, 0))


@pytest.mark.parametrize(("name", "value"), [("message.timestamp.type", "CreateTime"), ("retention.ms", "1000000")])
def test_an_existing_topic_that_would_lose_or_misdate_messages_is_refused(
    kafka: str, admin: AdminClient, name: str, value: str
) -> None:
    topic = f"wrong-{next(numbers)}"
    config = {"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime", name: value}
    admin.create_topics([NewTopic(topic, 1, 1, config=config)])[topic].result(20)
    with pytest.raises(SettingError, match=f"{topic} has {name}={value}.*--add-config {name}="):
        eventually(lambda: ensure_topics(kafka, [topic]))


def test_a_recreated_topic_has_another_identity_on_the_same_cluster(kafka: str, admin: AdminClient, topic: str) -> None:
    first = describe_streams(kafka, [topic])[topic]
    assert describe_streams(kafka, [topic])[topic] == first
    remove(admin, topic)
    for _ in range(50):
        if topic in eventually(lambda: ensure_topics(kafka, [topic])):
            break
    second = eventually(lambda: describe_streams(kafka, [topic]))[topic]
    assert second.cluster_id == first.cluster_id
    assert second.topic_id != first.topic_id
    assert second.topic == topic


def test_a_topic_that_does_not_exist_is_something_to_wait_for(kafka: str) -> None:
    with pytest.raises(TryLaterError, match="nowhere"):
        describe_streams(kafka, ["nowhere"])
    with pytest.raises(TryLaterError, match="nowhere"):
        watermarks(kafka, "nowhere")


# publishing


def test_keys_lie_where_javas_client_would_put_them(kafka: str, topic: str) -> None:
    keys = [f"{'ABCDE'[n % 5]}{n}"[: 1 + n % 9] for n in range(300)] + ["AAPL", "BTC-USD", "BRK.B", "X" * 16]
    with Publisher(kafka) as publisher:
        for key in keys:
            publisher.send(topic, key, key.encode())
    expected: dict[int, int] = dict.fromkeys(range(PARTITIONS), 0)
    for key in keys:
        expected[(murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS] += 1
    assert {number: high for number, (_, high) in watermarks(kafka, topic).items()} == expected
    assert publisher.delivered == len(keys)
    assert publisher.places == {(topic, number): high for number, high in expected.items() if high}


def test_the_hash_of_this_test_is_javas() -> None:
    # pairs of Kafka's own client tests
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert {data: murmur2(data) - (1 << 32 if murmur2(data) >> 31 else 0) for data in known} == known


def test_the_brokers_time_is_the_message_time_and_order_is_kept(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=1)
    with Publisher(kafka) as publisher:
        for n in range(50):
            publisher.send(topic, "AAPL", str(n).encode())
    got = [message for batch in member(topic).take(50) for message in batch]
    assert [message.value for message in got] == [str(n).encode() for n in range(50)]
    assert [message.offset for message in got] == list(range(50))
    assert {message.key for message in got} == {b"AAPL"}
    assert all(before < message.broker_time < before + dt.timedelta(seconds=60) for message in got)


def test_a_publisher_says_when_the_broker_is_gone() -> None:
    nowhere = f"{LOOPBACK}:{free_port()}"
    with pytest.raises(TryLaterError, match="not delivered"), Publisher(nowhere, delivery_timeout_s=1.0) as publisher:
        publisher.send("finance-data", "AAPL", b"{}")
    with pytest.raises(TryLaterError), Publisher(nowhere, delivery_timeout_s=0.5) as publisher:
        for _ in range(1_000_000):
            publisher.send("finance-data", "AAPL", b"x" * 5_000)


def test_a_cluster_that_does_not_answer_is_something_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlake_assets.broker.topics._TIMEOUT_S", 0.5)
    nowhere = f"{LOOPBACK}:{free_port()}"
    asked: list[Callable[[], object]] = [
        lambda: ensure_topics(nowhere, ["t"]),
        lambda: describe_streams(nowhere, ["t"]),
        lambda: watermarks(nowhere, "t"),
    ]
    for ask in asked:
        with pytest.raises(TryLaterError, match=nowhere):
            ask()


# reading


def test_a_reader_begins_at_the_stored_offsets_and_else_at_the_beginning(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    places = send(kafka, topic, [f"K{n}" for n in range(200)]).places
    stored = {number: places[topic, number] - 3 for number in range(2)}
    wanted = 2 * 3 + sum(places[topic, number] for number in range(2, PARTITIONS))
    got = [message for batch in member(topic, stored).take(wanted) for message in batch]
    firsts = {number: min(m.offset for m in got if m.partition == number) for number in range(PARTITIONS)}
    assert firsts == {**stored, 2: 0, 3: 0}
    assert len(got) == wanted


def test_a_stored_offset_that_the_broker_does_not_have_is_an_alarm(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    send(kafka, topic, ["AAPL"] * 5)
    with pytest.raises(IntegrityError, match="stored offset is not on the broker"):
        member(topic, dict.fromkeys(range(PARTITIONS), 1000)).take(1)


def test_a_full_topic_comes_in_full_batches(kafka: str, topic: str, member: Callable[..., Member]) -> None:
    total = 20_000
    send(kafka, topic, (f"K{n % 40}" for n in range(total)), b"x" * 30)
    batches = member(topic).take(total)
    assert sum(map(len, batches)) == total
    assert max(map(len, batches)) == 5000
    # the prefetch is bounded, so some batches are short, but never many
    assert len(batches) <= 20


def test_a_message_larger_than_a_fetch_comes_and_so_do_those_behind_it(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    large = 900_000
    with Publisher(kafka) as publisher:
        for size in (10, large, 10):
            # bytes that do not compress
            publisher.send(topic, "AAPL", random.Random(size).randbytes(size))
    got = [message for batch in member(topic).take(3) for message in batch]
    assert [len(message.value or b"") for message in got] == [10, large, 10]


def test_paused_nothing_comes_and_after_a_rewind_all_of_it_again(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    send(kafka, topic, ["AAPL"] * 1000)
    one = member(topic)
    (first, *_) = one.take(10, most=10)
    place = (topic, first[0].partition)
    # most of the thousand are in the client already, and must not come out
    one.reader.pause()
    assert [one.reader.take(100, 0.2) for _ in range(3)] == [[], [], []]
    one.reader.rewind({place: 5, (topic, 99): 0})
    assert one.reader.take(100, 0.2) == []
    one.reader.resume()
    got = [message.offset for batch in one.take(995) for message in batch]
    assert got == list(range(5, 1000))


def test_what_was_committed_is_for_lag_tools_and_lag_is_known(
    kafka: str, topic: str, member: Callable[..., Member]
) -> None:
    send(kafka, topic, ["AAPL"] * 10)
    one = member(topic)
    ((message, *_),) = one.take(1, most=1)
    one.reader.commit({(topic, message.partition): 1})
    for _ in range(POLLS):
        one.reader.take(1, 0)
        if one.reader.lag().get((topic, message.partition)) == 0:
            break
    assert one.reader.lag()[topic, message.partition] == 0


def test_a_second_member_takes_over_what_the_first_gives_up(kafka: str, topic: str) -> None:
    send(kafka, topic, ["AAPL"])
    first = Member(kafka, topic)
    first.take(1)
    assert first.reader.assigned == {(topic, number) for number in range(PARTITIONS)}
    first.reader.close()
    assert first.revoked == [set(range(PARTITIONS))]
