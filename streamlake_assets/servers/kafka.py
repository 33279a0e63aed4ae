"""The local Kafka broker: one node, KRaft, the real thing.

Belongs here: format, configuration, start and readiness of the broker. Stays out:
topics and messages (``broker``), downloads (``artifacts``).
"""

import base64
import fcntl
import shutil
import threading
import uuid
from pathlib import Path

from streamlake_assets.errors import ServerError
from streamlake_assets.servers.artifacts import KAFKA_VERSION, fetch_kafka, recipe
from streamlake_assets.servers.home import Home, write_atomic
from streamlake_assets.servers.local_server import ServerInfo, start_until_ready
from streamlake_assets.servers.ports import answers, require_free
from streamlake_assets.servers.probes import cluster_id
from streamlake_assets.servers.process import ChildProcess, ChildRegistry
from streamlake_assets.servers.tools import require_java, run_tool
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import LOOPBACK, Settings

_NAME = "kafka"
_JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseG1GC")
_LOG_LEVEL = "-Dorg.slf4j.simpleLogger.defaultLogLevel"


class LocalKafka:
    """A Kafka broker as child process on 127.0.0.1."""

    name = _NAME

    def __init__(self, settings: Settings, registry: ChildRegistry, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._home = Home.of(settings)
        self._stop = stop or threading.Event()
        self._jars: Path | None = None
        self._child: ChildProcess | None = None

    @property
    def child(self) -> ChildProcess | None:
        """The broker's process."""
        return self._child

    @property
    def data(self) -> Path:
        """Folder of the log segments."""
        return self._home.data / _NAME

    def prepare(self, say: Say) -> None:
        """Fetch the jars and format the data folder, once.

        Raises:
            MissingToolError: Java 17 or Maven is missing.
            ArtifactError: a jar cannot be had.
            ServerError: the data folder cannot be formatted.
        """
        java = require_java()
        self._jars = fetch_kafka(say, self._stop)
        self._child = ChildProcess(
            _NAME,
            [java, *_JVM, f"{_LOG_LEVEL}=warn", "-cp", f"{self._jars}/*", "kafka.Kafka", str(self._properties)],
            self._registry,
            grace_s=20.0,
        )
        if not self.data.exists():
            self._format(java, say)

    def start(self) -> None:
        """Start the broker and return when it answers with its metadata.

        Raises:
            PortInUseError: its port or its controller's is taken.
            ServerError: it does not start, or another broker uses the data folder.
        """
        if self._child is None:
            raise ServerError("prepare the Kafka broker before its start")
        require_free(self._settings.kafka_port, "STREAMLAKE_KAFKA_PORT", "the Kafka broker")
        require_free(self._settings.kafka_controller_port, "STREAMLAKE_KAFKA_CONTROLLER_PORT", "the Kafka controller")
        self._require_unlocked()
        self._write_properties(self._properties, self.data)
        port = self._settings.kafka_port
        start_until_ready(
            self._child, lambda: answers(port) and cluster_id(f"{LOOPBACK}:{port}", 1.0) is not None, self._stop
        )

    def info(self) -> ServerInfo:
        """Describe the broker."""
        return ServerInfo(
            name=_NAME,
            what=f"Kafka {KAFKA_VERSION}, the real broker (KRaft, one node)",
            version=KAFKA_VERSION,
            address=self._settings.kafka,
            configured=False,
            pid=self._child.pid if self._child else None,
        )

    def stop(self) -> None:
        """Stop the broker; SIGKILL after 20 s."""
        if self._child is not None:
            self._child.stop()

    @property
    def _properties(self) -> Path:
        return self._home.run / "kafka.properties"

    def _write_properties(self, path: Path, data: Path) -> None:
        text = recipe("kafka.properties.in")
        for key, value in (
            ("@PORT@", self._settings.kafka_port),
            ("@CONTROLLER_PORT@", self._settings.kafka_controller_port),
            ("@DATA@", data),
        ):
            text = text.replace(key, str(value))
        write_atomic(path, text)

    def _format(self, java: str, say: Say) -> None:
        """Format under another name and rename, so that an interrupted format leaves nothing half done."""
        partial = self.data.with_name(f"{_NAME}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        properties = self._home.run / "kafka-format.properties"
        self._write_properties(properties, partial)
        argv = [java, f"{_LOG_LEVEL}=error", "-cp", f"{self._jars}/*", "kafka.tools.StorageTool", "format"]
        argv += ["-t", _new_cluster_id(), "-c", str(properties)]
        code, output = run_tool(argv, "formatting the Kafka data folder", say, 120, self._stop)
        if code:
            raise ServerError(f"the Kafka data folder cannot be formatted: {output.strip()[-600:]}")
        partial.rename(self.data)
        properties.unlink()

    def _require_unlocked(self) -> None:
        """A second broker on the same folder would hang the first one for good."""
        lock = self.data / ".lock"
        if not lock.exists():
            return
        with lock.open("r+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ServerError(f"another Kafka broker uses {self.data}: stop it first") from error


def _new_cluster_id() -> str:
    """Return a random id in Kafka's form: 16 bytes in URL-safe base64; one must not begin with a dash."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
