"""The local NiFi: http on loopback, the flow and its repositories in the data folder, our Python processor beside it.

Belongs here: configuration, start, readiness and stop. Stays out: assembling it (``artifacts``), its flows
(``nifi_api``, ``commands.nifi``).

There is no login for it among the Maven artifacts, so it listens on 127.0.0.1 only. Its Python processes use this
project's own site-packages: nothing is installed at run time. A NiFi that is killed leaves them behind; they carry this
child's mark, and the next start ends them.
"""

import secrets
import shutil
import sys
import sysconfig
import threading
from pathlib import Path
from typing import Final

import httpx

from streamlake_assets.errors import ServerError
from streamlake_assets.servers.artifacts import NIFI_VERSION, fetch_nifi, recipe
from streamlake_assets.servers.home import Home, write_atomic
from streamlake_assets.servers.local_server import ServerInfo, start_until_ready
from streamlake_assets.servers.ports import answers, require_free
from streamlake_assets.servers.process import ChildProcess, ChildRegistry
from streamlake_assets.servers.tools import require_nifi_java
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import LOOPBACK, Settings

_NAME: Final = "nifi"
_JVM: Final = ("-Xms256m", "-Xmx768m", "-XX:ActiveProcessorCount=2", "-Djava.awt.headless=true")
NIFI_FOLDER: Final = Path(__file__).resolve().parents[2] / "nifi"
"""Flows, reference data and Python processors of this project."""
_PROCESSORS: Final = "python_extensions"


class LocalNifi:
    """A NiFi as child process on 127.0.0.1."""

    name = _NAME

    def __init__(self, settings: Settings, registry: ChildRegistry, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._registry = registry
        self._home = Home.of(settings)
        self._stop = stop or threading.Event()
        self._software: Path | None = None
        self._child: ChildProcess | None = None

    @property
    def child(self) -> ChildProcess | None:
        """NiFi's process."""
        return self._child

    @property
    def data(self) -> Path:
        """Its working folder: configuration, flow, repositories."""
        return self._home.data / _NAME

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self._settings.nifi_port}"

    def prepare(self, say: Say) -> None:
        """Assemble the software, once.

        Raises:
            MissingToolError: a JDK 21 or newer, or Maven, is missing.
            ArtifactError: an artifact cannot be had.
        """
        java = require_nifi_java(self._settings.jdk21_home)
        self._software = fetch_nifi(java, say, self._stop)
        argv = ["env", "-C", str(self.data), java, *_JVM]
        argv += [
            "-Dnifi.properties.file.path=conf/nifi.properties",
            f"-Dorg.apache.nifi.management.server.address={LOOPBACK}:{self._settings.nifi_management_port}",
            "-cp",
            f"{self._software}/lib/*:conf",
            "org.apache.nifi.NiFi",
        ]
        self._child = ChildProcess(_NAME, argv, self._registry, grace_s=30.0)

    def start(self) -> None:
        """Start NiFi and return when its API answers.

        Raises:
            PortInUseError: one of its ports is taken.
            ServerError: it does not start.
        """
        if self._child is None or self._software is None:
            raise ServerError("prepare NiFi before its start")
        require_free(self._settings.nifi_port, "STREAMLAKE_NIFI_PORT", "NiFi")
        require_free(self._settings.nifi_management_port, "STREAMLAKE_NIFI_MANAGEMENT_PORT", "NiFi's management")
        self._configure(self._software)
        start_until_ready(self._child, self._answers, self._stop)

    def info(self) -> ServerInfo:
        """Describe NiFi."""
        return ServerInfo(
            name=_NAME,
            what=f"NiFi {NIFI_VERSION}, assembled from Maven artifacts",
            version=NIFI_VERSION,
            address=f"{self.url}/nifi",
            configured=False,
            pid=self._child.pid if self._child else None,
        )

    def stop(self) -> None:
        """Stop NiFi and its Python processes; SIGKILL after 30 s."""
        if self._child is not None:
            self._child.stop()

    def _answers(self) -> bool:
        if not answers(self._settings.nifi_port):
            return False
        try:
            return httpx.get(f"{self.url}/nifi-api/flow/about", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def _configure(self, software: Path) -> None:
        conf = self.data / "conf"
        conf.mkdir(parents=True, exist_ok=True)
        (self.data / "extensions").mkdir(exist_ok=True)
        text = recipe("nifi.properties.in")
        for key, value in (
            ("@PORT@", self._settings.nifi_port),
            ("@SOFTWARE@", software),
            ("@PYTHON@", sys.executable),
            ("@SENSITIVE_KEY@", self._sensitive_key(conf)),
        ):
            text = text.replace(key, str(value))
        # it holds the sensitive key
        write_atomic(conf / "nifi.properties", text, mode=0o600)
        write_atomic(conf / "logback.xml", recipe("nifi.logback.xml"))
        write_atomic(conf / "state-management.xml", recipe("nifi.state.xml"))
        self._install_processors()

    def _sensitive_key(self, conf: Path) -> str:
        """Return the key that encrypts sensitive values of the flow; another one could not read the flow any more."""
        path = conf / "sensitive.key"
        if not path.exists():
            write_atomic(path, secrets.token_urlsafe(24), mode=0o600)
        return path.read_text()

    def _install_processors(self) -> None:
        target = self.data / _PROCESSORS
        shutil.rmtree(target, ignore_errors=True)
        bundled = target / "NAR-INF" / "bundled-dependencies"
        bundled.parent.mkdir(parents=True)
        for source in sorted((NIFI_FOLDER / _PROCESSORS).glob("*.py")):
            shutil.copy2(source, target)
        bundled.symlink_to(sysconfig.get_path("purelib"))
