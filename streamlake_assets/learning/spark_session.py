"""A Spark session whose Java process is ours: started with every setting said, ended without a trace.

Belongs here: the process, its configuration, what its death looks like. Stays out: models (``spark_engine``).

PySpark starts its Java process itself, waits for it without limit, and leaves it running after ``stop()``. Here the
process is started in a session of its own, with a deadline, with its errors in a file, and it is gone after ``stop``.
It also ends by itself when this process dies: its standard input is a pipe that only this process holds.
"""

import os
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.learning.engines import Resources, needs_library

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOOPBACK = "127.0.0.1"
PARTITIONS = 4
"""Parts that rows are cut into on their way to Spark, whatever the number of cores: equal parts give equal models."""
_STOP_S = 15.0
_QUIET = """rootLogger.level = error
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %p %c{1}: %m%n
"""


def configuration(resources: Resources, folder: Path) -> dict[str, str]:
    """Return every setting of a session.

    Args:
        resources: cores or cluster, and the driver's heap.
        folder: for whatever Spark writes.
    """
    found = {
        "spark.app.name": "streamlake",
        "spark.master": resources.spark_master or f"local[{resources.cores}]",
        "spark.driver.memory": f"{resources.jvm_memory_mb}m",
        # out of memory is an end, not a slow agony; a Java that is killed leaves nothing outside the folder
        "spark.driver.extraJavaOptions": f"-XX:+ExitOnOutOfMemoryError -Djava.io.tmpdir={folder / 'local'}",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.default.parallelism": str(PARTITIONS),
        "spark.sql.shuffle.partitions": str(PARTITIONS),
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.local.dir": str(folder / "local"),
    }
    if not resources.spark_master:
        found |= {"spark.driver.host": LOOPBACK, "spark.driver.bindAddress": LOOPBACK}
    return found


class LocalSpark:
    """One session and its Java process."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._session: SparkSession | None = None

    @property
    def pid(self) -> int | None:
        """Process id of Java while it is ours."""
        return self._process.pid if self._process else None

    @property
    def folder(self) -> Path:
        """A folder for passing files to and fro, removed by ``stop``."""
        if self._folder is None:
            raise ServerError("Spark does not run: open the engine first")
        return Path(self._folder.name)

    def session(self) -> "SparkSession":
        """Return the running session.

        Raises:
            ServerError: none runs.
        """
        if self._session is None:
            raise ServerError("Spark does not run: open the engine first")
        return self._session

    def start(self) -> None:
        """Start Java and open a session; nothing happens if one runs.

        Raises:
            UsageError: PySpark or a JDK is missing, or this process has another Spark session.
            ServerError: it did not come up in time; the message ends with Java's last words.
        """
        if self._session is not None:
            return
        with needs_library("spark"):
            import pyspark
            from pyspark.core.context import SparkContext
        java_home = self._resources.java_home or os.environ.get("JAVA_HOME", "")
        if not (Path(java_home) / "bin" / "java").is_file():
            raise UsageError(f"engine spark needs a JDK 17: JAVA_HOME is {java_home or 'not set'!r}, no bin/java there")
        if SparkContext._active_spark_context is not None:
            raise UsageError("this process has another Spark session: one engine at a time")
        self._folder = tempfile.TemporaryDirectory(prefix="streamlake-spark-")
        try:
            settings = configuration(self._resources, self.folder)
            self._process = self._launch(Path(pyspark.__file__).parent, java_home, settings)
            with self.errors("opening a session"):
                self._session = self._connect(settings)
        except BaseException:
            self.stop()
            raise

    def _launch(self, home: Path, java_home: str, settings: dict[str, str]) -> "subprocess.Popen[bytes]":
        (self.folder / "conf").mkdir()
        (self.folder / "local").mkdir()
        (self.folder / "conf" / "log4j2.properties").write_text(_QUIET)
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
        environment |= {
            "JAVA_HOME": java_home,
            "SPARK_HOME": str(home),
            "SPARK_CONF_DIR": str(self.folder / "conf"),
            "SPARK_CONNECT_MODE": "0",
            "_PYSPARK_DRIVER_CONN_INFO_PATH": str(self.folder / "connection"),
        }
        if not self._resources.spark_master:
            environment["SPARK_LOCAL_IP"] = LOOPBACK
        command = [str(home / "bin" / "spark-submit")]
        for name, value in settings.items():
            command += ["--conf", f"{name}={value}"]
        with (self.folder / "stderr").open("wb") as errors:
            return subprocess.Popen(
                [*command, "pyspark-shell"],
                stdin=subprocess.PIPE,
                stdout=errors,
                stderr=errors,
                env=environment,
                # Ctrl-C is for this process: it stops Java in order
                start_new_session=True,
            )

    def _connect(self, settings: dict[str, str]) -> "SparkSession":
        from pyspark import SparkConf
        from pyspark.core.context import SparkContext
        from pyspark.java_gateway import launch_gateway
        from pyspark.sql import SparkSession

        port, secret = self._connection()
        # told so, PySpark connects to a Java process that runs already
        os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
        try:
            gateway = launch_gateway()  # type: ignore[no-untyped-call]
        finally:
            del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]
        context = SparkContext(gateway=gateway, conf=SparkConf(loadDefaults=False).setAll(list(settings.items())))
        return SparkSession(context)

    def _connection(self) -> tuple[int, str]:
        """Wait for the file in which Java says its port and secret: two numbers of 4 bytes, big-endian."""
        path = self.folder / "connection"
        deadline = time.monotonic() + self._resources.start_timeout_s
        while not path.exists():
            if self._process is None or self._process.poll() is not None:
                raise ServerError(f"Spark did not start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise ServerError(f"Spark did not start within {self._resources.start_timeout_s:g} s")
            time.sleep(0.05)
        raw = path.read_bytes()
        port, length = struct.unpack(">ii", raw[:8])
        return port, raw[8 : 8 + length].decode()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn what PySpark raises inside the block into one sentence; a dead Java process is cleared away.

        Raises:
            ServerError: Java died or Spark refused.
        """
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            yield
        except (Py4JError, PySparkException, OSError, EOFError) as error:
            process = self._process
            if process is not None:
                with suppress(subprocess.TimeoutExpired):
                    # a broken connection is known before the end of the process is
                    process.wait(2.0 if isinstance(error, OSError | Py4JError) else 0.0)
            if process is not None and process.returncode is not None:
                reason = f"Spark ended while {doing} (exit code {process.returncode}): {self._last_words()}"
                self.stop()
                raise ServerError(reason) from error
            # the line after "An error occurred while calling" names the Java exception
            told = " ".join(line.strip(" :") for line in str(error).strip().splitlines()[:2])
            raise ServerError(f"Spark failed while {doing}: {told}") from error

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "stderr").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        told = [line.strip() for line in lines if line.strip() and not line.startswith(("\t", "WARNING"))]
        return "; ".join(told[-3:])[:500] or "it said nothing"

    def stop(self) -> None:
        """Close the session and end Java, by force if it does not go; its folder is removed."""
        # without a session there is nothing to bring to an end in order
        patience = _STOP_S if self._session is not None else 0.0
        try:
            if self._session is not None or self._process is not None:
                self._disconnect()
        finally:
            self._session = None
            process, self._process = self._process, None
            if process is not None:
                _end(process, patience)
            folder, self._folder = self._folder, None
            if folder is not None:
                folder.cleanup()

    def _disconnect(self) -> None:
        """Leave PySpark's globals as if there had been no session: the next one must not find a dead connection."""
        from py4j.protocol import Py4JError
        from pyspark.core.context import SparkContext
        from pyspark.sql import SparkSession

        running = self._process is not None and self._process.poll() is None
        context, gateway = SparkContext._active_spark_context, SparkContext._gateway
        if self._session is not None and running:
            with suppress(Py4JError, OSError, EOFError):
                self._session.stop()
        if context is not None:
            if context._accumulatorServer is not None:
                context._accumulatorServer.shutdown()
            context._jsc = None
        if gateway is not None:
            with suppress(Py4JError, OSError, EOFError):
                gateway.shutdown()
        SparkContext._active_spark_context = None
        SparkContext._gateway = None
        SparkContext._jvm = None
        SparkSession._instantiatedSession = None


def _end(process: "subprocess.Popen[bytes]", patience: float) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
