"""The Debezium JDBC sink on a Kafka Connect worker: best fair setting found, one task, the same topic of plain JSON.

Belongs here: the worker's process, the connector's settings, its REST calls. Stays out: timing (``cases.debezium``).
The worker stays up from round to round, so its code is compiled when it counts; every run gets a connector of a new
name, and so a new consumer group that begins at offset 0.

``value.converter.schema.content`` gives the JSON converter the schema that our messages do not carry. Prices pass
through double, which holds the 15 digits that the contract allows. ``rewriteBatchedStatements`` makes one multi-row
statement of each batch; without it every row is a round trip.
"""

import json
import uuid
from typing import Any

import httpx
import sqlalchemy as sa

from benchmarks.checks import SINK_TABLE
from benchmarks.peers.debezium.artifacts import HERE, fetch_connect
from benchmarks.ports import free_ports
from benchmarks.rig import Rig
from streamlake_assets.errors import ServerError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.tools import require_java
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole

JVM = ("-Xms256m", "-Xmx1g", "-XX:+UseG1GC")
BATCH = 5_000
START_S = 300.0
KEY = "symbol,interval,bar_time"
_TEXTS = ("symbol", "interval", "exchange", "status", "source")
_NUMBERS = ("open", "high", "low", "close", "volume")
_TIMES = ("bar_time", "as_of", "event_time")
_ZONED = "io.debezium.time.ZonedTimestamp"


def message_schema() -> dict[str, Any]:
    """Return the schema that the converter gives to every message; fields that it does not name are left out."""
    fields: list[dict[str, Any]] = [{"field": name, "type": "string", "optional": False} for name in _TEXTS]
    fields += [{"field": name, "type": "double", "optional": name == "volume"} for name in _NUMBERS]
    fields += [{"field": "synthetic", "type": "boolean", "optional": False}]
    fields += [{"field": name, "type": "string", "name": _ZONED, "version": 1, "optional": False} for name in _TIMES]
    return {"type": "struct", "name": "bar", "optional": False, "fields": fields}


def connector_config(rig: Rig) -> dict[str, str]:
    """Return the connector's settings."""
    url = sa.make_url(rig.settings.mysql(DatabaseRole.MIGRATE))
    options = "rewriteBatchedStatements=true&connectionTimeZone=UTC&allowPublicKeyRetrieval=true&useSSL=false"
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": BARS_TOPIC,
        "connection.url": f"jdbc:mysql://{LOOPBACK}:{rig.settings.mysql_port}/{DATABASE}?{options}",
        "connection.username": url.username or "",
        "connection.password": url.password or "",
        "insert.mode": "upsert",
        "primary.key.mode": "record_value",
        "primary.key.fields": KEY,
        "collection.name.format": SINK_TABLE,
        "schema.evolution": "none",
        # interval is a reserved word
        "quote.identifiers": "true",
        "batch.size": str(BATCH),
        "consumer.override.max.poll.records": str(BATCH),
        "consumer.override.max.partition.fetch.bytes": "4194304",
        "consumer.override.auto.offset.reset": "earliest",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(message_schema()),
    }


class Sink:
    """A Connect worker with at most one connector."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        (port,) = free_ports(1)
        self._address = f"http://{LOOPBACK}:{port}"
        self._connector = ""
        folder = fetch_connect(rig.say)
        text = (HERE / "worker.properties.in").read_text()
        values = {"KAFKA": rig.settings.kafka, "PORT": port, "PLUGINS": folder / "plugins", "FOLDER": rig.folder}
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        properties = rig.folder / "connect.properties"
        properties.write_text(text)
        level = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        main = "org.apache.kafka.connect.cli.ConnectStandalone"
        argv = [require_java(), *JVM, level, "-cp", f"{folder / 'lib'}/*", main, str(properties)]
        self.child: ChildProcess = rig.child("connect", argv, {})

    def start(self) -> None:
        """Start the worker and return when it answers.

        Raises:
            ServerError: it does not.
        """
        self.child.start()
        if not wait_until(lambda: not self.child.running or self._answers(), START_S) or not self.child.running:
            raise ServerError(f"Kafka Connect does not answer: {self.child.log_tail()}")

    def begin(self) -> None:
        """Make a connector that reads the topic from its beginning."""
        self._connector = f"bars-{uuid.uuid4().hex[:8]}"
        url = f"{self._address}/connectors/{self._connector}/config"
        httpx.put(url, json=connector_config(self._rig), timeout=60).raise_for_status()

    def failure(self) -> str:
        """Return why the task has failed, or nothing."""
        found = httpx.get(f"{self._address}/connectors/{self._connector}/status", timeout=10).json()
        return "; ".join(task.get("trace", "")[:2000] for task in found.get("tasks", []) if task["state"] == "FAILED")

    def end(self) -> None:
        """Remove the connector."""
        if self._connector:
            httpx.delete(f"{self._address}/connectors/{self._connector}", timeout=60).raise_for_status()
            self._connector = ""

    def stop(self) -> None:
        """Stop the worker."""
        self.child.stop()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._address}/connectors", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False
