"""PublishBars, a NiFi processor: the JSON records of a FlowFile onto a Kafka topic, one message each.

Where a NiFi has no PublishKafka (the local one of this project), this takes its place. A FlowFile holds one JSON
object, an array of objects, or one object a line; with *Content* = whole its bytes are one message, whatever they are.

Where a FlowFile goes:

- success: the brokers acknowledged every record.
- retry: they did not, in time. Nothing is wrong with the data; send the FlowFile back here. Records may then be on the
  topic twice, which a consumer of this project counts as *same*.
- invalid: it can never be published; the attribute ``publish.error`` says why.
- failure is NiFi's own, for a Python process that went away: it says nothing about the data, so treat it as retry.

The file stands alone: NiFi loads it into a process that has the project's site-packages, not the project.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer
from nifiapi.flowfiletransform import FlowFileTransform, FlowFileTransformResult
from nifiapi.properties import ExpressionLanguageScope, PropertyDescriptor, StandardValidators
from nifiapi.relationship import Relationship

NEVER = (
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG,
    KafkaError._INVALID_ARG,
)
"""Errors of a message that no second attempt mends."""
LONGEST_REASON = 500


class InvalidContent(Exception):
    """The content of a FlowFile cannot be made into messages."""


def messages_of(content: bytes, key_field: str) -> list[tuple[bytes | None, bytes]]:
    """Return (key, value) of every record in a content; a value is the record as it stands there.

    Raises:
        InvalidContent: it is no JSON, holds something else than objects, or a record has no key.
    """
    found = []
    try:
        text = content.decode()
        for record, written in _records(text):
            if not isinstance(record, dict):
                raise InvalidContent(f"a record is a {type(record).__name__}, not an object")
            key = None
            if key_field:
                value = record.get(key_field)
                if not isinstance(value, str) or not value:
                    raise InvalidContent(f"a record has no text in its key field {key_field}")
                key = value.encode()
            found.append((key, written.encode()))
    except (ValueError, RecursionError) as error:
        # no UTF-8, no JSON, nested without end, or a key that is no text
        raise InvalidContent(f"no records: {error}") from error
    if not found:
        raise InvalidContent("there is no record")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


# numbers are not read to be written again: a price must arrive digit for digit
_decode = json.JSONDecoder(parse_constant=_no_number).raw_decode
_SPACE = " \t\r\n"


def _records(text: str) -> Iterator[tuple[Any, str]]:
    """Yield every record with its text: of one object, of an array, or of objects one after the other."""
    text = text.strip(_SPACE)
    in_array = text.startswith("[")
    place, end = (1, len(text) - 1) if in_array else (0, len(text))
    if in_array and not text.endswith("]"):
        raise ValueError("an array does not end")
    first = True
    while True:
        while place < end and text[place] in _SPACE:
            place += 1
        if place >= end:
            return
        if in_array and not first:
            if text[place] != ",":
                raise ValueError(f"no comma at {place}")
            place += 1
            while place < end and text[place] in _SPACE:
                place += 1
        record, after = _decode(text, place)
        yield record, text[place:after]
        place, first = after, False


def _property(name: str, description: str, **more: Any) -> PropertyDescriptor:
    given = {"required": True, "validators": [StandardValidators.NON_EMPTY_VALIDATOR], **more}
    return PropertyDescriptor(name=name, description=description, **given)


class PublishBars(FlowFileTransform):
    """See the module."""

    class Java:
        """What NiFi takes this for."""

        implements = ["org.apache.nifi.python.processor.FlowFileTransform"]  # noqa: RUF012  # NiFi reads assignments

    class ProcessorDetails:
        """What NiFi shows."""

        version = "1.0.0"
        description = "Publishes the JSON records of a FlowFile to Kafka, one message each, keyed by a field."
        tags = ["kafka", "publish", "json", "bars", "market"]  # noqa: RUF012

    BOOTSTRAP = _property(
        "Bootstrap Servers",
        "host:port of the brokers, separated by commas",
    )
    TOPIC = _property(
        "Topic Name",
        "Where the messages go",
        expression_language_scope=ExpressionLanguageScope.FLOWFILE_ATTRIBUTES,
    )
    KEY_FIELD = _property("Message Key Field", "Field of a record that is its key; empty: no key", required=False)
    CONTENT = _property(
        "Content",
        "records: one message for each JSON record; whole: one message of all bytes",
        default_value="records",
        allowable_values=["records", "whole"],
    )
    TIMEOUT = _property(
        "Delivery Timeout",
        "Seconds within which the brokers must acknowledge all records of a FlowFile",
        default_value="10",
        validators=[StandardValidators.POSITIVE_INTEGER_VALIDATOR],
    )

    def __init__(self, **_: Any) -> None:
        """Know the properties and relationships; NiFi passes its JVM, which is not needed."""
        self._producer: Producer | None = None
        self._timeout_s = 10
        self._topic = ""
        self._key_field = ""
        self._whole = False

    def getPropertyDescriptors(self) -> list[PropertyDescriptor]:
        """Return the properties in the order of the dialog."""
        return [self.BOOTSTRAP, self.TOPIC, self.KEY_FIELD, self.CONTENT, self.TIMEOUT]

    def getRelationships(self) -> list[Relationship]:
        """Return where FlowFiles may go beside NiFi's own failure."""
        return [
            Relationship("success", "All records were acknowledged"),
            Relationship("retry", "Kafka did not acknowledge all records in time"),
            Relationship("invalid", "The content can never be published"),
        ]

    def onScheduled(self, context: Any) -> None:
        """Make the producer anew: properties may have changed."""
        self._open(context)

    def onStopped(self, _context: Any) -> None:
        """Send what is queued and let go of the brokers."""
        if self._producer is not None:
            self._producer.flush(self._timeout_s)
            self._producer = None

    def transform(self, context: Any, flowFile: Any) -> FlowFileTransformResult:
        """Publish one FlowFile."""
        # NiFi starts a lost Python process again without onScheduled
        producer = self._producer or self._open(context)
        content = bytes(flowFile.getContentsAsBytes())
        topic = self._topic
        if "${" in topic:
            topic = context.getProperty(self.TOPIC).evaluateAttributeExpressions(flowFile).getValue()
        try:
            if self._whole:
                found: list[tuple[bytes | None, bytes]] = [(None, content)]
            else:
                found = messages_of(content, self._key_field)
        except InvalidContent as error:
            return self._refuse("invalid", str(error))
        problem = self._publish(producer, topic, found)
        if problem is None:
            return FlowFileTransformResult("success")
        if isinstance(problem, KafkaError) and problem.fatal():
            # the client will never send again: the next FlowFile opens another
            self._producer = None
        if isinstance(problem, KafkaError) and problem.code() in NEVER:
            return self._refuse("invalid", problem.str())
        # so that an outage is not a busy loop
        context.yield_resources()
        return self._refuse("retry", problem.str() if isinstance(problem, KafkaError) else problem)

    def _open(self, context: Any) -> Producer:
        # asked once and not for each FlowFile: every question is a round trip to NiFi's process, and for single
        # records those cost more than the publishing
        self._timeout_s = int(context.getProperty(self.TIMEOUT).getValue())
        self._topic = context.getProperty(self.TOPIC).getValue()
        self._key_field = context.getProperty(self.KEY_FIELD).getValue() or ""
        self._whole = context.getProperty(self.CONTENT).getValue() == "whole"
        self._producer = Producer(
            {
                "bootstrap.servers": context.getProperty(self.BOOTSTRAP).getValue(),
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 0,
                "compression.type": "lz4",
                # Java's partitioner, as all producers of these topics: one symbol must stay on one partition
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": self._timeout_s * 1000,
            }
        )
        return self._producer

    def _publish(
        self, producer: Producer, topic: str, found: list[tuple[bytes | None, bytes]]
    ) -> KafkaError | str | None:
        """Return None when all are acknowledged, else what was wrong."""
        acknowledged = 0
        errors: list[KafkaError] = []

        def report(error: KafkaError | None, _message: Any) -> None:
            nonlocal acknowledged
            if error is None:
                acknowledged += 1
            else:
                errors.append(error)

        # a second more than the client's own limit, so that its report comes first
        deadline = time.monotonic() + self._timeout_s + 1
        try:
            for key, value in found:
                while True:
                    try:
                        producer.produce(topic, value=value, key=key, on_delivery=report)
                        break
                    except BufferError:
                        if time.monotonic() > deadline:
                            return "the queue to Kafka stays full"
                        producer.poll(0.1)
        except KafkaException as error:
            problem: KafkaError = error.args[0]
            return problem
        while acknowledged + len(errors) < len(found) and time.monotonic() < deadline:
            producer.poll(0.1)
        if errors:
            return next((one for one in errors if one.code() in NEVER), errors[0])
        missing = len(found) - acknowledged
        return f"{missing} of {len(found)} records were not acknowledged in {self._timeout_s} s" if missing else None

    def _refuse(self, relationship: str, reason: str) -> FlowFileTransformResult:
        self.logger.warn(f"{relationship}: {reason}")
        return FlowFileTransformResult(relationship, attributes={"publish.error": reason[:LONGEST_REASON]})
