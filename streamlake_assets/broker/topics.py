"""Topics: making them as the contract says, and telling one creation of a topic from the next.

Belongs here: topic settings, identity, watermarks. Stays out: reading and writing messages (``reader``, ``publisher``).
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]
from confluent_kafka.cimpl import KafkaError, NewTopic

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.market.messages import StreamIdentity

PARTITIONS = 4
REJECTS_TOPIC: Final = "finance-data-rejects"
"""What a source could not make a message of: JSON objects with ``file`` and ``reason``, no keys, kept for 90 days."""
REJECTS_KEPT: Final = dt.timedelta(days=90)
FORECASTS_TOPIC: Final = "forecasts"
"""What was said of each session and what came of it, keyed by symbol: a copy of the ledger, which keeps everything."""
FORECASTS_KEPT: Final = dt.timedelta(days=365)
TOPIC_CONFIG = {
    # the topic keeps everything: all tables can be rebuilt from offset 0
    "retention.ms": "-1",
    "retention.bytes": "-1",
    # known_from of a version is the broker's time, not what a producer claims
    "message.timestamp.type": "LogAppendTime",
}
_TIMEOUT_S = 10.0


def client_config(bootstrap: str) -> dict[str, Any]:
    """Return what every client of the cluster sets."""
    # log_level 0: while a broker starts or stops, librdkafka would print a line for each refused connection
    return {
        "bootstrap.servers": bootstrap,
        "log_level": 0,
        "socket.keepalive.enable": True,
        # with the default of 10 s a client would look that long at a broker that is back
        "reconnect.backoff.max.ms": 2_000,
    }


def ensure_topics(
    bootstrap: str, topics: Iterable[str], partitions: int = PARTITIONS, retention: dt.timedelta | None = None
) -> list[str]:
    """Create the topics that do not exist, and return their names.

    Args:
        bootstrap: brokers of the cluster.
        topics: their names.
        partitions: of each.
        retention: how long messages are kept; None: for ever, as the tables are rebuilt from them.

    Raises:
        TryLaterError: the cluster does not answer.
        SettingError: a topic exists with settings that would lose or misdate messages.
    """
    admin = AdminClient(client_config(bootstrap))
    made = []
    config = dict(TOPIC_CONFIG)
    if retention is not None:
        config["retention.ms"] = str(int(retention.total_seconds() * 1000))
    wanted = [
        NewTopic(topic, num_partitions=partitions, replication_factor=-1, config=dict(config)) for topic in topics
    ]
    for topic, future in admin.create_topics(wanted, request_timeout=_TIMEOUT_S).items():
        try:
            future.result()
            made.append(topic)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.TOPIC_ALREADY_EXISTS:
                raise TryLaterError(f"topic {topic} could not be made on {bootstrap}: {error.args[0].str()}") from error
            _check_config(admin, topic, config)
    return made


def describe_streams(bootstrap: str, topics: Iterable[str]) -> dict[str, StreamIdentity]:
    """Return the identity of each topic: the cluster it lives on and the id it was given when it was created.

    Raises:
        TryLaterError: the cluster does not answer, or a topic does not exist.
    """
    return identities(AdminClient(client_config(bootstrap)), list(topics), bootstrap)


def identities(admin: AdminClient, names: list[str], bootstrap: str) -> dict[str, StreamIdentity]:
    """Return the identity of each topic, asked by a client that is kept; ``bootstrap`` is for the error's text.

    Raises:
        TryLaterError: the cluster does not answer, or a topic does not exist.
    """
    try:
        cluster = admin.describe_cluster(request_timeout=_TIMEOUT_S).result()
        found = admin.describe_topics(TopicCollection(names), request_timeout=_TIMEOUT_S)
        return {name: StreamIdentity(cluster.cluster_id, str(found[name].result().topic_id), name) for name in names}
    except KafkaException as error:
        raise TryLaterError(f"topics {', '.join(names)} on {bootstrap}: {error.args[0].str()}") from error


def watermarks(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset held and the next offset to be written, for each partition of a topic.

    Raises:
        TryLaterError: the cluster does not answer.
    """
    consumer = Consumer({**client_config(bootstrap), "group.id": "streamlake-watermarks", "enable.auto.commit": False})
    try:
        described = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        marks = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT_S)
            for number in sorted(described.partitions)
        }
    except KafkaException as error:
        raise TryLaterError(f"watermarks of {topic} on {bootstrap}: {error.args[0].str()}") from error
    finally:
        consumer.close()
    answered = {number: pair for number, pair in marks.items() if pair is not None}
    if len(answered) < len(marks):
        raise TryLaterError(f"watermarks of {topic} on {bootstrap}: no answer within {_TIMEOUT_S:g} s")
    return answered


def _check_config(admin: AdminClient, topic: str, config: Mapping[str, str]) -> None:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    try:
        held = admin.describe_configs([resource], request_timeout=_TIMEOUT_S)[resource].result()
    except KafkaException as error:
        raise TryLaterError(f"settings of topic {topic}: {error.args[0].str()}") from error
    for name, value in config.items():
        if held[name].value != value:
            raise SettingError(
                f"topic {topic} has {name}={held[name].value}, it must be {value}: "
                f"kafka-configs.sh --alter --topic {topic} --add-config {name}={value}"
            )
