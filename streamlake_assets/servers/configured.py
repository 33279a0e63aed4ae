"""Servers that a setting names: probed, never started, and never replaced by a local one when they do not answer.

Belongs here: the probe of each configured URL and its error. Stays out: local servers (``kafka``, ``mysql``,
``document_store``).
"""

from typing import Any

from streamlake_assets.errors import SettingError
from streamlake_assets.servers.local_server import LocalServer, ServerInfo
from streamlake_assets.servers.probes import build_info, cluster_id, mongo_address
from streamlake_assets.servers.process import ChildProcess
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import DatabaseRole, Settings

PROBE_TIMEOUT_S = 10.0


def configured_servers(settings: Settings) -> list[LocalServer]:
    """Return the servers that settings name, to be probed by ``start``; none is contacted yet."""
    servers: list[LocalServer] = []
    if settings.kafka_bootstrap:
        servers.append(ConfiguredKafka(settings))
    if settings.mysql_url.get_secret_value():
        servers.append(ConfiguredMysql(settings))
    if settings.mongo_url.get_secret_value():
        servers.append(ConfiguredDocumentStore(settings))
    return servers


class ConfiguredKafka:
    """The Kafka cluster that STREAMLAKE_KAFKA_BOOTSTRAP names; it is probed, never started."""

    name = "kafka"
    child: ChildProcess | None = None

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.kafka_bootstrap

    def prepare(self, say: Say) -> None:
        """Nothing to prepare."""

    def start(self) -> None:
        """Probe the cluster.

        Raises:
            SettingError: it does not answer within ten seconds.
        """
        if cluster_id(self._bootstrap, PROBE_TIMEOUT_S) is None:
            raise SettingError(
                f"STREAMLAKE_KAFKA_BOOTSTRAP={self._bootstrap} does not answer: start that cluster, correct the "
                "setting, or leave it empty for a local broker"
            )

    def info(self) -> ServerInfo:
        """Describe the cluster; Kafka's protocol does not tell its version."""
        what = f"Kafka cluster {cluster_id(self._bootstrap, PROBE_TIMEOUT_S) or '?'}, configured"
        return ServerInfo("kafka", what, "", self._bootstrap, configured=True)

    def stop(self) -> None:
        """Nothing to stop."""


class ConfiguredMysql:
    """The MySQL that STREAMLAKE_MYSQL_URL names; it is probed, never started."""

    name = "mysql"
    child: ChildProcess | None = None

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def prepare(self, say: Say) -> None:
        """Nothing to prepare."""

    def start(self) -> None:
        """Probe it as every role.

        Raises:
            SettingError: it does not answer within ten seconds, or refuses a user; the message names the setting.
        """
        for role, setting in (
            (DatabaseRole.MIGRATE, "STREAMLAKE_MYSQL_URL"),
            (DatabaseRole.WRITER, "STREAMLAKE_MYSQL_WRITER_URL"),
            (DatabaseRole.READER, "STREAMLAKE_MYSQL_READER_URL"),
            (DatabaseRole.BI, "STREAMLAKE_MYSQL_BI_URL"),
            (DatabaseRole.ACTIONS, "STREAMLAKE_MYSQL_ACTIONS_URL"),
        ):
            own = getattr(self._settings, setting.removeprefix("STREAMLAKE_").lower()).get_secret_value()
            if own:
                probe_url(self._settings.mysql(role), setting)

    def info(self) -> ServerInfo:
        """Ask it for its version."""
        url = self._settings.mysql(DatabaseRole.MIGRATE)
        version, address = probe_url(url, "STREAMLAKE_MYSQL_URL")
        flavour = "MariaDB" if "mariadb" in version.lower() else "MySQL"
        return ServerInfo("mysql", f"{flavour} {version}, configured", version, address, configured=True)

    def stop(self) -> None:
        """Nothing to stop."""


class ConfiguredDocumentStore:
    """The MongoDB that STREAMLAKE_MONGO_URL names; it is probed, never started."""

    name = "documents"
    child: ChildProcess | None = None

    def __init__(self, settings: Settings) -> None:
        self._url = settings.mongo_url.get_secret_value()

    def prepare(self, say: Say) -> None:
        """Nothing to prepare."""

    def start(self) -> None:
        """Probe it.

        Raises:
            SettingError: it does not answer within ten seconds, or refuses the user.
        """
        self._build_info()

    def info(self) -> ServerInfo:
        """Describe it; a stand-in is called one wherever it runs."""
        found = self._build_info()
        version = str(found.get("version", "?"))
        what = f"a stand-in for MongoDB ({found['standIn']})" if "standIn" in found else f"MongoDB {version}"
        return ServerInfo("documents", f"{what}, configured", version, mongo_address(self._url), configured=True)

    def stop(self) -> None:
        """Nothing to stop."""

    def _build_info(self) -> dict[str, Any]:
        found = build_info(self._url, PROBE_TIMEOUT_S)
        if found is None:
            raise SettingError(
                f"STREAMLAKE_MONGO_URL ({mongo_address(self._url)}) does not answer: start that server, correct the "
                "setting, or leave it empty for a local stand-in"
            )
        return found


def probe_url(url: str, setting: str) -> tuple[str, str]:
    """Return version and address of the server at an SQLAlchemy URL.

    Raises:
        SettingError: it cannot be read or does not answer; the message names the setting and hides the password.
    """
    import sqlalchemy

    try:
        parsed = sqlalchemy.make_url(url)
        engine = sqlalchemy.create_engine(parsed, connect_args={"connect_timeout": PROBE_TIMEOUT_S})
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, ImportError, ValueError) as error:
        raise SettingError(
            f"{setting} cannot be read: it is mysql+pymysql://user:password@host:port/database"
        ) from error
    address = f"{parsed.host}:{parsed.port or 3306}"
    try:
        with engine.connect() as connection:
            return str(connection.scalar(sqlalchemy.text("SELECT VERSION()"))), address
    except sqlalchemy.exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise SettingError(
            f"{setting} ({address}) does not answer: {cause}; start that server, correct the setting, "
            "or leave it empty for a local server"
        ) from error
    finally:
        engine.dispose()
