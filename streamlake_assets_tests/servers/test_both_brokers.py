"""One suite on the real broker and on the one in memory: they keep, hand out and hold back alike."""

import datetime as dt
from collections.abc import Callable, Iterator

import pytest

from streamlake_assets.broker.memory import MemoryBroker
from streamlake_assets.market.messages import Message, MessageReader
from streamlake_assets_tests.broker_members import (
    POLLS,
    Member,
    send,
)

pytestmark = pytest.mark.servers


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
