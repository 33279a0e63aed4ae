"""What a process beside Dagster shows of itself: Prometheus metrics, ``/healthz`` and ``/readyz`` on 127.0.0.1.

Belongs here: the small web server and the consumer's metrics. Stays out: deciding whether a process is healthy.
"""

import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from streamlake_assets.errors import PortInUseError
from streamlake_assets.market.messages import Counts
from streamlake_assets.settings import LOOPBACK

_LATENCY_BUCKETS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60)


class ConsumerMetrics:
    """Counters of the consumer since its start, and when it last made progress."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.messages = Counter(
            "streamlake_messages", "Messages by what became of them", ["outcome"], registry=self.registry
        )
        self.batch_size = Histogram(
            "streamlake_batch_messages", "Messages in a batch", buckets=(1, 10, 100, 1000, 5000), registry=self.registry
        )
        self.transaction = Histogram("streamlake_transaction_seconds", "Time of a transaction", registry=self.registry)
        self.latency = Histogram(
            "streamlake_broker_to_row_seconds",
            "From the broker's time of the oldest message of a batch to its commit",
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.lag = Gauge(
            "streamlake_lag_messages", "Messages not yet taken", ["topic", "partition"], registry=self.registry
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


def serve(port: int, registry: CollectorRegistry, alive: Callable[[], bool], ready: Callable[[], bool]) -> HealthServer:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` from a thread of this process.

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
        raise PortInUseError(f"port {port} (STREAMLAKE_CONSUMER_PORT): {error.strerror}") from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server
