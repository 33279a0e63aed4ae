"""The undisturbed run: the same messages from the same topics, stored once, in order, by nobody who is disturbed.

Belongs here: reading whole topics and storing them into a schema of its own through the store's one way in. It shares
decoder and store with the consumer, and nothing of reader, loop or process. Stays out: comparing (``checker``).
"""

from collections.abc import Iterable, Iterator, Mapping

import sqlalchemy as sa
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streamlake_assets.broker.raw_message import to_message
from streamlake_assets.broker.topics import client_config
from streamlake_assets.errors import BadRecordError, TryLaterError
from streamlake_assets.market.contract import ACTIONS_TOPIC, decode_action, decode_bar
from streamlake_assets.market.messages import Arrival, DeadLetter, Message, Slice, StreamIdentity
from streamlake_assets.stores.bar_store import BarStore

_PER_SLICE = 5_000
_ANSWER_S = 30.0


def store_all(
    engine: sa.Engine, bootstrap: str, streams: Iterable[StreamIdentity], watermarks: Mapping[tuple[str, int], int]
) -> None:
    """Store everything that lies before the watermarks, partition by partition, in slices of one shape.

    Raises:
        TryLaterError: the broker does not hand the messages out.
    """
    store = BarStore(engine, "oracle")
    of_topic = {stream.topic: stream for stream in streams}
    for (topic, partition), end in sorted(watermarks.items()):
        pending: list[Message] = []
        for message in _messages(bootstrap, topic, partition, end):
            pending.append(message)
            if len(pending) == _PER_SLICE:
                store.ingest([to_slice(of_topic[topic], pending)])
                pending = []
        if pending:
            store.ingest([to_slice(of_topic[topic], pending)])


def to_slice(stream: StreamIdentity, messages: list[Message]) -> Slice:
    """Decode consecutive messages of one partition."""
    decode = decode_action if stream.topic == ACTIONS_TOPIC else decode_bar
    arrivals: list[Arrival] = []
    dead: list[DeadLetter] = []
    for message in messages:
        try:
            fact = decode(message.value, message.key, message.broker_time)
        except BadRecordError as error:
            at = (message.offset, message.broker_time)
            dead.append(DeadLetter(*at, error.reason, error.detail, message.key, message.value))
        else:
            arrivals.append(Arrival(message.offset, message.broker_time, fact))
    first, last = messages[0], messages[-1]
    return Slice(stream, first.partition, first.offset, last.offset + 1, arrivals, dead)


def _messages(bootstrap: str, topic: str, partition: int, end: int) -> Iterator[Message]:
    if end == 0:
        return
    config = {"group.id": "streamlake-oracle", "enable.auto.commit": False, "auto.offset.reset": "error"}
    consumer = Consumer({**client_config(bootstrap), **config})
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        following = 0
        while following < end:
            raw = consumer.consume(min(_PER_SLICE, end - following), _ANSWER_S)
            if not raw:
                raise TryLaterError(f"{topic}[{partition}] stopped at {following} of {end}")
            for one in raw:
                if (error := one.error()) is not None:
                    raise KafkaException(error)
                following += 1
                yield to_message(one)
    finally:
        consumer.close()
