"""The local document store: a stand-in that speaks MongoDB's protocol. It is not MongoDB, and says so.

Belongs here: its start and readiness. Stays out: documents (``stores``) and downloads (``artifacts``). No MongoDB
server can be had as a package for this mode; with STREAMLAKE_MONGO_URL the real one is used.
"""

import threading
from pathlib import Path

from streamlake_assets.errors import ServerError
from streamlake_assets.servers.artifacts import DOCUMENT_STORE_VERSION, fetch_document_store
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.local_server import ServerInfo, start_until_ready
from streamlake_assets.servers.ports import answers, require_free
from streamlake_assets.servers.probes import build_info
from streamlake_assets.servers.process import ChildProcess, ChildRegistry
from streamlake_assets.servers.tools import require_java
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import LOOPBACK, Settings

_NAME = "documents"
_JVM = ("-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=off")


class LocalDocumentStore:
    """The stand-in as child process on 127.0.0.1, on one file that survives a crash."""

    name = _NAME

    def __init__(self, settings: Settings, registry: ChildRegistry, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._home = Home.of(settings)
        self._stop = stop or threading.Event()
        self._child: ChildProcess | None = None

    @property
    def child(self) -> ChildProcess | None:
        """The stand-in's process."""
        return self._child

    @property
    def data(self) -> Path:
        """Folder of the data file."""
        return self._home.data / _NAME

    def prepare(self, say: Say) -> None:
        """Fetch the jars and compile the class, once.

        Raises:
            MissingToolError: a JDK 17 or Maven is missing.
            ArtifactError: a jar cannot be had.
        """
        java = require_java()
        folder = fetch_document_store(say, self._stop)
        self.data.mkdir(parents=True, exist_ok=True)
        port = str(self._settings.mongo_port)
        self._child = ChildProcess(
            _NAME,
            [
                java,
                *_JVM,
                "-cp",
                f"{folder}:{folder}/*",
                "MongoStandIn",
                LOOPBACK,
                port,
                str(self.data / "documents.mv"),
            ],
            self._registry,
        )

    def start(self) -> None:
        """Start the stand-in and return when it answers.

        Raises:
            PortInUseError: its port is taken.
            ServerError: it does not start.
        """
        if self._child is None:
            raise ServerError("prepare the document store before its start")
        port = self._settings.mongo_port
        require_free(port, "STREAMLAKE_MONGO_PORT", "the document store")
        start_until_ready(
            self._child, lambda: answers(port) and build_info(self._settings.mongo, 1.0) is not None, self._stop
        )

    def info(self) -> ServerInfo:
        """Describe it, as what it is."""
        return ServerInfo(
            name=_NAME,
            what=f"document store: a stand-in for MongoDB that speaks its protocol, not MongoDB "
            f"(mongo-java-server {DOCUMENT_STORE_VERSION} on H2)",
            version=DOCUMENT_STORE_VERSION,
            address=f"{LOOPBACK}:{self._settings.mongo_port}",
            configured=False,
            pid=self._child.pid if self._child else None,
        )

    def stop(self) -> None:
        """Stop it; SIGKILL after 10 s."""
        if self._child is not None:
            self._child.stop()
