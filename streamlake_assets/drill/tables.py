"""The database side of the plant: settings of its servers, the schema, the second schema that is compared with.

Belongs here: making, emptying and digesting schemas. Stays out: when that is done (``plant``).
"""

import random
import socket
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from pydantic import SecretStr

from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql_users import CHARACTER_SET, COLLATION, ROOT, ensure_passwords
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole, Settings
from streamlake_assets.stores import migrate, schema
from streamlake_assets.stores.bar_reader import snapshot
from streamlake_assets.stores.digests import table_digests
from streamlake_assets.stores.mysql import make_engine

REFERENCE = "streamlake_reference"
_PORTS = (
    "kafka_port",
    "kafka_controller_port",
    "mysql_port",
    "mongo_port",
    "dagster_port",
    "panel_port",
    "consumer_port",
    "scorer_port",
)
_MYSQL_URLS = ("mysql_url", "mysql_writer_url", "mysql_reader_url", "mysql_bi_url", "mysql_actions_url")
_URLS = ("kafka_bootstrap", *_MYSQL_URLS, "mongo_url")


def free_port() -> int:
    """Return a port nobody listens on, below the range that outgoing connections take theirs from."""
    while True:
        port = random.randint(20000, 32000)  # noqa: S311
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def local_settings(home: Path, flavour: str) -> Settings:
    """Return settings of servers in a folder of their own, whatever the environment and ``.env`` say."""
    values = {name: free_port() for name in _PORTS} | dict.fromkeys(_URLS, "")
    return Settings(_env_file=None, home=home, local_mysql=flavour, **values)  # type: ignore[arg-type]


class PlantSchema:
    """A schema at this version's state that can be emptied as if it had just been made.

    Args:
        engine: of a user that may do everything with it; closed with it.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._migrate()

    def make_anew(self) -> None:
        """Drop the consumers' schema and make it again."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE {DATABASE}")
            connection.exec_driver_sql(f"CREATE DATABASE {DATABASE} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}")
        self.engine.dispose()
        self._migrate()

    def _migrate(self) -> None:
        migrate.upgrade(self.engine)
        migrate.grant_rights(self.engine)
        with self.engine.connect() as connection:
            self._sources = list(connection.execute(sa.select(schema.data_sources.c.id)).scalars())

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def empty(self) -> None:
        """Remove all rows but those of the migration; the append-only triggers do not see a TRUNCATE."""
        kept = {schema.bar_intervals, schema.data_sources}
        with self.engine.begin() as connection:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=0")
            for table in schema.metadata.sorted_tables:
                if table not in kept and connection.execute(sa.select(sa.literal(1)).select_from(table)).first():
                    truncate = sa.DDL("TRUNCATE TABLE %(fullname)s")  # type: ignore[no-untyped-call]
                    connection.execute(truncate.against(table))
            sources = schema.data_sources
            connection.execute(sa.delete(sources).where(sources.c.id.not_in(self._sources)))
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=1")

    def digests(self) -> dict[str, str]:
        """Return the digest of every raw table."""
        return digests(self.engine)


def root_engine(settings: Settings, database: str) -> sa.Engine:
    """Return an engine of the root user of a local server."""
    password = quote(ensure_passwords(Home.of(settings).secrets)[ROOT])
    url = f"mysql+pymysql://{ROOT}:{password}@{LOOPBACK}:{settings.mysql_port}/{database}?charset=utf8mb4"
    return make_engine(settings.model_copy(update={"mysql_url": SecretStr(url)}), DatabaseRole.MIGRATE)


def second_schema(settings: Settings) -> PlantSchema:
    """Make a second schema on a local server, as a consumer would find it."""
    engine = root_engine(settings, "mysql")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {REFERENCE}")
        connection.exec_driver_sql(f"CREATE DATABASE {REFERENCE} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}")
    engine.dispose()
    return PlantSchema(root_engine(settings, REFERENCE))


def digests(engine: sa.Engine) -> dict[str, str]:
    """Return the digest of every raw table, all as of one moment."""
    with snapshot(engine) as connection:
        return table_digests(connection)
