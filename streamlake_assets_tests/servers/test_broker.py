"""The real broker: topics as the contract says, keys where Java puts them, reading from offsets that we hold."""

import datetime as dt
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import count
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import NewTopic

from streamlake_assets.broker.memory import MemoryBroker
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.reader import PROTOCOL, GroupProtocol, KafkaReader
from streamlake_assets.broker.topics import PARTITIONS, client_config, describe_streams, ensure_topics, watermarks
from streamlake_assets.errors import IntegrityError, SettingError, TryLaterError
from streamlake_assets.market.messages import Message, MessageReader
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings
from streamlake_assets_tests.conftest import free_port

pytestmark = pytest.mark.servers
PROTOCOLS = [
    # the default in every run, the others in the long one
    each if each is PROTOCOL else pytest.param(each, marks=pytest.mark.slow)
    for each in (GroupProtocol.RANGE, GroupProtocol.COOPERATIVE, GroupProtocol.CONSUMER)
]
numbers = count()
POLLS = 150


@pytest.fixture(scope="module")
def kafka(kafka_server: LocalKafka, test_settings: Settings) -> str:
    return test_settings.kafka


@pytest.fixture(scope="module")
def admin(kafka: str) -> AdminClient:
    return AdminClient(client_config(kafka))


@pytest.fixture
def topic(kafka: str) -> str:
    name = f"topic-{next(numbers)}"
    ensure_topics(kafka, [name])
    eventually(lambda: describe_streams(kafka, [name]))
    return name


def eventually(ask: Callable[[], Any]) -> Any:
    """Repeat while the cluster has not heard of a change yet."""
    for _ in range(50):
        try:
            return ask()
        except TryLaterError:
            continue
    return ask()


def remove(admin: AdminClient, topic: str) -> None:
    futures: dict[str, Future[None]] = admin.delete_topics([topic])
    futures[topic].result(20)


def send(kafka: str, topic: str, keys: Iterable[str], value: bytes = b"{}") -> Publisher:
    with Publisher(kafka) as publisher:
        for key in keys:
            publisher.send(topic, key, value)
    return publisher


class Member:
    """A reader, in a group of its own unless it is told which, beginning at given offsets, which it moves on."""

    def __init__(
        self,
        kafka: str,
        topic: str,
        offsets: dict[int, int] | None = None,
        group: str | None = None,
        protocol: GroupProtocol = PROTOCOL,
        instance_id: str | None = None,
    ) -> None:
        self.reader = KafkaReader(kafka, group or f"group-{next(numbers)}", protocol=protocol, instance_id=instance_id)
        self.topic = topic
        self.revoked: list[set[int]] = []
        self.stored = {} if offsets is None else offsets
        self.messages: list[Message] = []

        def start(_topic: str, partitions: Iterable[int]) -> dict[int, int]:
            return {number: self.stored[number] for number in partitions if number in self.stored}

        self.reader.subscribe([topic], start, lambda places: self.revoked.append({number for _, number in places}))

    @property
    def partitions(self) -> set[int]:
        return {number for _, number in self.reader.assigned}

    def turn(self, timeout_s: float = 0.05) -> set[int]:
        """Take what is there, store how far it goes, and say from which partitions it came."""
        taken = self.reader.take(5000, timeout_s)
        self.messages += taken
        self.stored.update({message.partition: message.offset + 1 for message in taken})
        return {message.partition for message in taken}

    def take(self, wanted: int, most: int = 5000) -> list[list[Message]]:
        """Batches until so many messages have come."""
        batches: list[list[Message]] = []
        for _ in range(POLLS):
            batch = self.reader.take(most, 0.2)
            if batch:
                batches.append(batch)
            if sum(map(len, batches)) >= wanted:
                return batches
        raise AssertionError(f"{sum(map(len, batches))} of {wanted} messages came")


@pytest.fixture
def member(kafka: str) -> Iterator[Callable[..., Member]]:
    made: list[Member] = []

    def make(topic: str, offsets: dict[int, int] | None = None) -> Member:
        made.append(Member(kafka, topic, offsets))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


def all_partitions(kafka: str, topic: str, each: int = 1) -> None:
    """Send messages to every partition."""
    keys = {(murmur2(key.encode()) & 0x7FFFFFFF) % PARTITIONS: key for key in map(str, range(100))}
    send(kafka, topic, [key for key in keys.values() for _ in range(each)])


def turns(members: Iterable[Member], until: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Let members take in turn until the condition holds."""
    settled = list(members)

    def round_of_turns() -> bool:
        for one in settled:
            one.turn()
        return until()

    assert wait_until(round_of_turns, timeout_s)


def murmur2(data: bytes) -> int:
    """The hash of Kafka's Java client, from its definition (seed 0x9747b28c, m 0x5bd1e995, r 24), 32 bits."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = h * m & mask ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


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


# members of one group


@pytest.fixture
def group_of(kafka: str, topic: str) -> Iterator[Callable[..., Member]]:
    """Members of one group on one topic that keep their offsets in one place."""
    made: list[Member] = []
    group, stored = f"group-{next(numbers)}", dict[int, int]()

    def make(protocol: GroupProtocol = PROTOCOL, instance_id: str | None = None) -> Member:
        made.append(Member(kafka, topic, stored, group, protocol, instance_id))
        return made[-1]

    yield make
    for one in made:
        one.reader.close()


def shared(*members: Member) -> bool:
    """Whether these have all partitions between them, and each has some."""
    held = [number for one in members for number in one.partitions]
    return sorted(held) == list(range(PARTITIONS)) and all(one.partitions for one in members)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_members_come_and_go_and_each_message_is_read_once(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    everyone: list[Member] = []
    sent = 0

    def join() -> Member:
        everyone.append(group_of(protocol))
        return everyone[-1]

    def change(*members: Member) -> None:
        nonlocal sent
        # some of it while partitions move, some when all is settled
        all_partitions(kafka, topic, 20)
        turns(members, lambda: shared(*members))
        all_partitions(kafka, topic, 20)
        sent += 2 * 20 * PARTITIONS
        turns(members, lambda: sum(len(one.messages) for one in everyone) >= sent)

    first = join()
    change(first)
    second = join()
    change(first, second)
    third = join()
    change(first, second, third)
    second.reader.close()
    change(first, third)
    first.reader.close()
    change(third)
    places = sorted((message.partition, message.offset) for one in everyone for message in one.messages)
    assert places == [(number, offset) for number in range(PARTITIONS) for offset in range(sent // PARTITIONS)]


@pytest.mark.parametrize("protocol", PROTOCOLS[1:])
def test_an_incremental_revocation_takes_what_moves_and_leaves_the_rest(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    first = group_of(protocol)
    turns([first], lambda: shared(first))
    second = group_of(protocol)
    turns([first, second], lambda: shared(first, second))
    assert first.revoked == [second.partitions]
    assert (first.partitions, second.revoked) == (set(range(PARTITIONS)) - second.partitions, [])
    all_partitions(kafka, topic)
    turns([first, second], lambda: len(first.messages) + len(second.messages) == PARTITIONS)
    assert {message.partition for message in first.messages} == first.partitions


def test_an_eager_revocation_takes_everything(group_of: Callable[..., Member]) -> None:
    first = group_of(GroupProtocol.RANGE)
    turns([first], lambda: shared(first))
    second = group_of(GroupProtocol.RANGE)
    turns([first, second], lambda: shared(first, second))
    assert first.revoked == [set(range(PARTITIONS))]


@pytest.mark.parametrize("protocol", PROTOCOLS[:2])
def test_a_held_partition_stays_held_when_it_moves_and_flows_when_it_was_let_go_elsewhere(
    kafka: str, topic: str, group_of: Callable[..., Member], protocol: GroupProtocol
) -> None:
    first = group_of(protocol)
    turns([first], lambda: shared(first))
    everything = {(topic, number) for number in range(PARTITIONS)}
    first.reader.hold(everything)
    second = group_of(protocol)
    turns([first, second], lambda: shared(first, second))
    stayed, moved = min(first.partitions), min(second.partitions)
    all_partitions(kafka, topic)
    turns([first, second], lambda: len(second.messages) == len(second.partitions))
    assert first.messages == []
    # one that is away and one that is here; the others stay held
    first.reader.release({(topic, moved), (topic, stayed)})
    second.reader.close()
    turns([first], lambda: shared(first))
    all_partitions(kafka, topic)
    expected = {(moved, 1), (stayed, 0), (stayed, 1)}
    turns([first], lambda: len(first.messages) >= len(expected))
    assert [first.turn(0.3) for _ in range(3)] == [set()] * 3
    assert {(message.partition, message.offset) for message in first.messages} == expected


def test_a_pause_of_an_outage_does_not_outlive_it_on_a_partition_that_moved_away_and_back(
    kafka: str, topic: str, group_of: Callable[..., Member]
) -> None:
    first = group_of()
    turns([first], lambda: shared(first))
    first.reader.pause()
    second = group_of()
    turns([first, second], lambda: shared(first, second))
    first.reader.resume()
    second.reader.close()
    turns([first], lambda: shared(first))
    all_partitions(kafka, topic)
    turns([first], lambda: len(first.messages) == PARTITIONS)


@pytest.mark.parametrize(
    ("protocol", "fenced"), [(GroupProtocol.COOPERATIVE, "first"), (GroupProtocol.CONSUMER, "second")]
)
def test_one_of_two_members_with_one_name_stops_with_an_error(
    group_of: Callable[..., Member], protocol: GroupProtocol, fenced: str
) -> None:
    first = group_of(protocol, "same")
    turns([first], lambda: shared(first))
    members = {"first": first, "second": group_of(protocol, "same")}
    other = members["second" if fenced == "first" else "first"]
    with pytest.raises(IntegrityError, match="instance"):
        turns(members.values(), lambda: False)
    turns([other], lambda: shared(other))


# one suite on both


class Feed:
    """One topic with a way in and a reader: on Kafka or in memory."""

    def __init__(self, reader: MessageReader, send_keys: Callable[[list[str]], None]) -> None:
        self.reader = reader
        self.send = send_keys

    def take(self, wanted: int, most: int = 5000) -> list[Message]:
        got: list[Message] = []
        for _ in range(POLLS):
            got += self.reader.take(most, 0.2)
            if len(got) >= wanted:
                break
        return got


@pytest.fixture(params=["memory", "kafka"])
def feed(request: pytest.FixtureRequest) -> Iterator[Feed]:
    if request.param == "memory":
        broker = MemoryBroker(lambda: dt.datetime.now(dt.UTC))

        def into_memory(keys: list[str]) -> None:
            for key in keys:
                broker.send("t", key, b"{}")

        yield Feed(broker.reader(["t"]), into_memory)
        return
    kafka, topic = request.getfixturevalue("kafka"), request.getfixturevalue("topic")
    one = Member(kafka, topic)
    yield Feed(one.reader, lambda keys: (send(kafka, topic, keys), None)[1])
    one.reader.close()


def test_both_brokers_keep_the_order_of_a_key_and_number_each_partition(feed: Feed) -> None:
    feed.send([f"K{n % 7}" for n in range(70)])
    got = feed.take(70)
    by_place: dict[int, list[int]] = {}
    for message in got:
        by_place.setdefault(message.partition, []).append(message.offset)
    assert all(offsets == list(range(len(offsets))) for offsets in by_place.values())
    assert {len({m.partition for m in got if m.key == key}) for key in {m.key for m in got}} == {1}
    assert all(message.broker_time.tzinfo is not None for message in got)


def test_both_brokers_hand_out_no_more_than_asked_for(feed: Feed) -> None:
    feed.send(["A"] * 30)
    assert len(feed.take(7, most=7)) == 7
    assert len(feed.take(23, most=10)) >= 23


def test_both_brokers_pause_rewind_and_resume(feed: Feed) -> None:
    feed.send(["A"] * 10)
    first = feed.take(10)
    feed.reader.pause()
    feed.send(["A"] * 2)
    assert feed.reader.take(10, 0.2) == []
    feed.reader.rewind({(first[0].topic, first[0].partition): 6})
    feed.reader.resume()
    assert [message.offset for message in feed.take(6)] == [6, 7, 8, 9, 10, 11]


def test_both_brokers_hold_single_partitions_whatever_pauses_and_resumes(feed: Feed) -> None:
    feed.send([f"K{n}" for n in range(40)])
    got = feed.take(40)
    topic, held = got[0].topic, got[0].partition
    feed.reader.hold({(topic, held)})
    feed.reader.pause()
    feed.reader.resume()
    feed.send([f"K{n}" for n in range(40)])
    kept_back = sum(message.partition == held for message in got)
    others = feed.take(40 - kept_back)
    others += feed.reader.take(5000, 0.5)
    assert len(others) == 40 - kept_back
    assert held not in {message.partition for message in others}
    feed.reader.release({(topic, held)})
    let_go = feed.take(kept_back)
    assert [message.offset for message in let_go] == list(range(kept_back, 2 * kept_back))
    assert {message.partition for message in let_go} == {held}


def test_both_brokers_release_at_the_offset_they_were_rewound_to_and_not_during_a_pause(feed: Feed) -> None:
    feed.send(["A"] * 10)
    first = feed.take(10)
    place = (first[0].topic, first[0].partition)
    feed.reader.hold({place})
    feed.reader.rewind({place: 6})
    feed.reader.pause()
    feed.reader.release({place})
    assert feed.reader.take(10, 0.3) == []
    feed.reader.resume()
    assert [message.offset for message in feed.take(4)] == [6, 7, 8, 9]
