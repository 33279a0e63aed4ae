"""Reading ranges on the real broker: from and to given offsets, beside records that are no messages, and again."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count

import pytest
from confluent_kafka import Producer

from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.range_reader import Place, Range, RangeReader
from streamlake_assets.broker.topics import client_config, describe_streams, ensure_topics, watermarks
from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.market.messages import Message, MessageReader
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings

pytestmark = pytest.mark.servers
numbers = count()
Make = Callable[[Mapping[Place, Range]], RangeReader]


@pytest.fixture
def topic(kafka_server: LocalKafka, test_settings: Settings) -> str:
    name = f"ranges-{next(numbers)}"
    ensure_topics(test_settings.kafka, [name], partitions=2)

    def is_there() -> bool:
        try:
            return bool(describe_streams(test_settings.kafka, [name]))
        except TryLaterError:
            return False

    assert wait_until(is_there, 20)
    return name


@pytest.fixture
def reader(test_settings: Settings) -> Iterator[Make]:
    made: list[RangeReader] = []

    def make(ranges: Mapping[Place, Range]) -> RangeReader:
        made.append(RangeReader(test_settings.kafka, ranges))
        return made[-1]

    yield make
    for one in made:
        one.close()


def send(settings: Settings, topic: str, number: int) -> dict[int, int]:
    """Send messages of many keys; return the ends of the partitions, both of which got some."""
    with Publisher(settings.kafka) as publisher:
        for n in range(number):
            publisher.send(topic, f"K{n % 17}", str(n).encode())
    ends = {partition: high for partition, (_, high) in watermarks(settings.kafka, topic).items()}
    assert min(ends.values()) > 20
    return ends


def until_done(reader: RangeReader, most: int = 7) -> list[Message]:
    found: list[Message] = []

    def all_taken() -> bool:
        found.extend(reader.take(most, 0.1))
        return reader.done

    assert wait_until(all_taken, 30)
    return found


def offsets(messages: list[Message], partition: int) -> list[int]:
    return [one.offset for one in messages if one.partition == partition]


def test_exactly_the_range_is_handed_out_in_order(topic: str, reader: Make, test_settings: Settings) -> None:
    ends = send(test_settings, topic, 200)
    one: MessageReader = reader({(topic, 0): (5, ends[0]), (topic, 1): (3, 12)})
    assert isinstance(one, RangeReader)
    found = until_done(one)
    assert offsets(found, 0) == list(range(5, ends[0]))
    assert offsets(found, 1) == list(range(3, 12))
    assert one.handed_out == {(topic, 0): ends[0], (topic, 1): 12}
    assert one.take(10, 0) == []


def test_nothing_to_read_is_done_at_once(topic: str, reader: Make) -> None:
    assert reader({(topic, 0): (0, 0)}).done
    assert reader({}).done


def test_it_goes_back_and_ahead_and_holds_and_pauses(topic: str, reader: Make, test_settings: Settings) -> None:
    ends = send(test_settings, topic, 200)
    places: list[Place] = [(topic, 0), (topic, 1)]
    one = reader({place: (0, ends[place[1]]) for place in places})
    one.hold([places[1]])
    assert offsets(until_done(one), 0) == list(range(ends[0]))
    one.rewind({places[0]: ends[0] - 4, ("elsewhere", 0): 0})
    assert not one.done
    assert places[0] not in one.handed_out
    assert offsets(until_done(one), 0) == list(range(ends[0] - 4, ends[0]))
    one.release([places[1]])
    one.pause()
    assert one.take(10, 0.3) == []
    one.resume()
    first = one.take(1, 10)
    assert offsets(first, 1) == [0]
    one.rewind({places[1]: 10})
    assert offsets(until_done(one), 1) == list(range(10, ends[1]))
    one.rewind({place: ends[place[1]] for place in places})
    assert one.done


def test_a_range_may_end_in_records_that_are_no_messages(topic: str, reader: Make, test_settings: Settings) -> None:
    producer = Producer({**client_config(test_settings.kafka), "transactional.id": f"t-{topic}"})
    producer.init_transactions(20)
    for ends_well in (True, False):
        producer.begin_transaction()
        for n in range(3):
            producer.produce(topic, value=str(n).encode(), partition=0)
        producer.flush(20)
        if ends_well:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)
    assert wait_until(lambda: watermarks(test_settings.kafka, topic)[0] == (0, 8), 20)
    one = reader({(topic, 0): (0, 8)})
    assert offsets(until_done(one), 0) == [0, 1, 2]
    assert one.handed_out == {(topic, 0): 3}
    middle = reader({(topic, 0): (2, 6)})
    assert offsets(until_done(middle), 0) == [2]


def test_an_offset_that_the_broker_never_had_is_an_alarm(topic: str, reader: Make, test_settings: Settings) -> None:
    ends = send(test_settings, topic, 60)
    with pytest.raises(IntegrityError, match="not on the broker"):
        until_done(reader({(topic, 0): (ends[0] + 100, ends[0] + 200)}))
