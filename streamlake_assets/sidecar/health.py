"""What a process beside Dagster shows of itself: Prometheus metrics, ``/healthz`` and ``/readyz`` on 127.0.0.1.

Belongs here: the small web server and the consumer's metrics. Stays out: deciding whether a process is healthy.
"""

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from streamlake_assets.errors import PortInUseError
from streamlake_assets.market.messages import Counts
from streamlake_assets.settings import LOOPBACK

_MILLISECONDS = tuple(n / 1000 for n in range(1, 21))
LATENCY_BOUNDS = (*_MILLISECONDS, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)
"""In seconds; fine where the goal lies."""


class LatencyHistogram(Collector):
    """A histogram that takes the latencies of a whole batch at once.

    The client library's own takes one value a call, which would cost more than the decoding of a message.
    """

    def __init__(self, name: str, text: str, registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._lock = threading.Lock()
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._sum = 0.0
        registry.register(self)

    def add(self, until: float, since: Sequence[float]) -> None:
        """Add what passed from each of these times until a moment; seconds since 1970."""
        values = sorted(max(0.0, until - moment) for moment in since)
        places = [0, *(bisect_right(values, bound) for bound in LATENCY_BOUNDS), len(values)]
        with self._lock:
            self._sum += sum(values)
            for number, (before, after) in enumerate(pairwise(places)):
                self._counts[number] += after - before

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Yield the histogram as Prometheus reads it: counts up to each bound."""
        with self._lock:
            totals, total_sum = list(accumulate(self._counts)), self._sum
        names = [*(str(bound) for bound in LATENCY_BOUNDS), "+Inf"]
        yield HistogramMetricFamily(self._name, self._text, list(zip(names, totals, strict=True)), total_sum)


class ConsumerMetrics:
    """Counters of the consumer since its start."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "streamlake_messages", "Messages by what became of them", ["outcome"], registry=self.registry
        )
        self.batch_size = Histogram(
            "streamlake_batch_messages",
            "Messages in a transaction",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
            registry=self.registry,
        )
        self.transaction = Histogram("streamlake_transaction_seconds", "Time of a transaction", registry=self.registry)
        self.from_broker = LatencyHistogram(
            "streamlake_broker_to_row_seconds", "From the broker's time of a message to its commit", self.registry
        )
        self.from_event = LatencyHistogram(
            "streamlake_event_to_row_seconds", "From event_time of a message to its commit", self.registry
        )
        self.lag = Gauge(
            "streamlake_lag_messages", "Messages not yet taken", ["topic", "partition"], registry=self.registry
        )
        self.stopped = Gauge(
            "streamlake_stopped_partitions", "Partitions stopped by their dead letters", registry=self.registry
        )
        self.outages = Counter("streamlake_outages", "Batches put off by an outage", registry=self.registry)
        self.fenced = Counter("streamlake_fenced", "Batches refused by the stored offset", registry=self.registry)

    def count(self, counts: Counts) -> None:
        """Add the outcomes of a batch."""
        for outcome in counts.__struct_fields__:
            self.messages.labels(outcome).inc(getattr(counts, outcome))


class Pulse:
    """Last time the loop turned and whether it can store; read by another thread."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._turned = time.monotonic()
        self.ready = False

    def turn(self) -> None:
        """Say that the loop is alive."""
        self._turned = time.monotonic()

    def alive(self) -> bool:
        """Tell whether the loop turned recently."""
        return time.monotonic() - self._turned < self._limit_s


class HealthServer(ThreadingMixIn, WSGIServer):
    """A thread for each request: a browser that opens a connection and says nothing must not block the probes."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away or never spoke is no news."""

    def stop(self) -> None:
        """Answer no more and free the port."""
        self.shutdown()
        self.server_close()


class _Quiet(WSGIRequestHandler):
    timeout = 5

    def log_message(self, format: str, *args: object) -> None:
        """Access logs of probes say nothing."""


def serve(
    port: int,
    registry: CollectorRegistry,
    alive: Callable[[], bool],
    ready: Callable[[], bool],
    setting: str,
) -> HealthServer:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from a thread of this process.

    Args:
        port: on loopback.
        registry: of the metrics.
        alive: whether the process works.
        ready: whether it can do what it is for.
        setting: that gives it another port.

    Raises:
        PortInUseError: the port is taken.
    """
    metrics = make_wsgi_app(registry)
    probes = {"/healthz": alive, "/readyz": ready}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = metrics(environ, start_response)
            return page
        probe = probes.get(path)
        if probe is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics, /healthz, /readyz\n"]
        good = probe()
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if good else b"not ok\n"]

    try:
        server = make_server(LOOPBACK, port, application, server_class=HealthServer, handler_class=_Quiet)
    except OSError as error:
        raise PortInUseError(f"port {port} ({setting}): {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
