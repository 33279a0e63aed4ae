"""A broker that does as it is told: librdkafka's own mock cluster, out of the library that the Kafka client brings.

Belongs here: the calls into that library. It injects what no real broker does on request: slow answers, leaders that
move, error codes. It is not Kafka: partitions hold 5 MB, and nothing is written to disk. Stays out: the cases
(``broker_faults``).
"""

import ctypes
from collections.abc import Sequence
from importlib.metadata import files
from types import TracebackType
from typing import Any, Final, Self

from streamlake_assets.drill.checker import DrillError

OFFSET_COMMIT: Final = 8
"""Number of the request in Kafka's protocol."""
_PRODUCER: Final = 0
_TEXT = ctypes.c_char_p
_OBJECT = ctypes.c_void_p
_INT = ctypes.c_int
_INT32 = ctypes.c_int32
_SIZE = ctypes.c_size_t
_SIGNATURES: Final[dict[str, tuple[Any, Sequence[Any]]]] = {
    "rd_kafka_conf_new": (_OBJECT, []),
    "rd_kafka_conf_set": (_INT, [_OBJECT, _TEXT, _TEXT, _TEXT, _SIZE]),
    "rd_kafka_new": (_OBJECT, [_INT, _OBJECT, _TEXT, _SIZE]),
    "rd_kafka_destroy": (None, [_OBJECT]),
    "rd_kafka_mock_cluster_new": (_OBJECT, [_OBJECT, _INT]),
    "rd_kafka_mock_cluster_destroy": (None, [_OBJECT]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_OBJECT]),
    "rd_kafka_mock_set_controller_id": (_INT, [_OBJECT, _INT32]),
    "rd_kafka_mock_topic_create": (_INT, [_OBJECT, _TEXT, _INT, _INT]),
    "rd_kafka_mock_partition_set_leader": (_INT, [_OBJECT, _TEXT, _INT32, _INT32]),
    "rd_kafka_mock_broker_set_rtt": (_INT, [_OBJECT, _INT32, _INT]),
    "rd_kafka_mock_push_request_errors_array": (None, [_OBJECT, ctypes.c_int16, _SIZE, ctypes.POINTER(_INT)]),
    "rd_kafka_mock_start_request_tracking": (None, [_OBJECT]),
    "rd_kafka_mock_clear_requests": (None, [_OBJECT]),
    "rd_kafka_mock_get_requests": (ctypes.POINTER(_OBJECT), [_OBJECT, ctypes.POINTER(_SIZE)]),
    "rd_kafka_mock_request_api_key": (ctypes.c_int16, [_OBJECT]),
    "rd_kafka_mock_request_destroy_array": (None, [ctypes.POINTER(_OBJECT), _SIZE]),
}


class MockCluster:
    """Three brokers on 127.0.0.1 within this process; use as a context manager."""

    BROKERS = 3

    def __init__(self) -> None:
        self._library = _load()
        self._client = _OBJECT()
        self._cluster = _OBJECT()

    def __enter__(self) -> Self:
        text = ctypes.create_string_buffer(512)
        config = _OBJECT(self._library.rd_kafka_conf_new())
        self._library.rd_kafka_conf_set(config, b"log_level", b"0", text, len(text))
        # the cluster lives in a client that is used for nothing else
        self._client = _OBJECT(self._library.rd_kafka_new(_PRODUCER, config, text, len(text)))
        if not self._client:
            raise DrillError(f"no Kafka client for the mock cluster: {text.value.decode()}")
        self._cluster = _OBJECT(self._library.rd_kafka_mock_cluster_new(self._client, self.BROKERS))
        if not self._cluster:
            raise DrillError("librdkafka made no mock cluster")
        # without a controller it does not describe itself
        self._library.rd_kafka_mock_set_controller_id(self._cluster, 1)
        self._library.rd_kafka_mock_start_request_tracking(self._cluster)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)

    @property
    def bootstrap(self) -> str:
        """Addresses of the brokers."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, topic: str, partitions: int) -> None:
        """Make a topic with one replica of each partition."""
        self._checked(self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1))

    def set_leader(self, topic: str, partition: int, broker: int) -> None:
        """Let another broker lead a partition."""
        name = topic.encode()
        self._checked(self._library.rd_kafka_mock_partition_set_leader(self._cluster, name, partition, broker))

    def set_rtt(self, milliseconds: int) -> None:
        """Let every answer of every broker take so long."""
        for broker in range(1, self.BROKERS + 1):
            self._checked(self._library.rd_kafka_mock_broker_set_rtt(self._cluster, broker, milliseconds))

    def push_errors(self, request: int, codes: Sequence[int]) -> None:
        """Let the next requests of a kind fail, one with each code."""
        self._library.rd_kafka_mock_clear_requests(self._cluster)
        array = (_INT * len(codes))(*codes)
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, request, len(codes), array)

    def requests(self, request: int) -> int:
        """Return how many requests of a kind came since errors were pushed last."""
        count = _SIZE()
        found = self._library.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        keys = [self._library.rd_kafka_mock_request_api_key(found[number]) for number in range(count.value)]
        self._library.rd_kafka_mock_request_destroy_array(found, count)
        return keys.count(request)

    @staticmethod
    def _checked(code: int) -> None:
        if code:
            raise DrillError(f"the mock cluster refused with {code}")


def _load() -> ctypes.CDLL:
    """Return the very library that the Python client has loaded."""
    found = [path for path in files("confluent-kafka") or [] if path.name.startswith("librdkafka")]
    if not found:
        raise DrillError("this confluent-kafka was not installed from a wheel with its own librdkafka")
    library = ctypes.CDLL(str(found[0].locate()))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
