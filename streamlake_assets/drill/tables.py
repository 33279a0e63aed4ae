"""The database side of the plant: settings of its servers, the schema, the second schema that is compared with.

Belongs here: making, emptying and digesting schemas. Stays out: when that is done (``plant``).
"""

import hashlib
import random
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from pydantic import SecretStr

from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql_users import CHARACTER_SET, COLLATION, ROOT, ensure_passwords
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings
from streamlake_assets.stores import migrate, schema
from streamlake_assets.stores.mysql import make_engine

REFERENCE = "streamlake_reference"
SEEDED = {"bar_intervals", "data_sources"}
"""Filled by the migration, and by no consumer with anything that depends on it."""
_PORTS = (
    "kafka_port",
    "kafka_controller_port",
    "mysql_port",
    "mongo_port",
    "dagster_port",
    "panel_port",
    "consumer_port",
)
_URLS = ("kafka_bootstrap", "mysql_url", "mysql_writer_url", "mysql_reader_url", "mysql_bi_url", "mongo_url")


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


def migrate_schema(engine: sa.Engine) -> None:
    """Bring a schema to this version's state, rights included."""
    migrate.upgrade(engine)
    migrate.grant_rights(engine)


def root_engine(settings: Settings, database: str) -> sa.Engine:
    """Return an engine of the root user of a local server."""
    password = quote(ensure_passwords(Home.of(settings).secrets)[ROOT])
    url = f"mysql+pymysql://{ROOT}:{password}@{LOOPBACK}:{settings.mysql_port}/{database}?charset=utf8mb4"
    return make_engine(settings.model_copy(update={"mysql_url": SecretStr(url)}), DatabaseRole.MIGRATE)


def reference_schema(settings: Settings) -> sa.Engine:
    """Make a second schema on the server, as a consumer would find it; return an engine of a user that may do all."""
    engine = root_engine(settings, "mysql")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {REFERENCE}")
        connection.exec_driver_sql(f"CREATE DATABASE {REFERENCE} CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION}")
    engine.dispose()
    made = root_engine(settings, REFERENCE)
    migrate.upgrade(made)
    return made


def empty(engine: sa.Engine) -> None:
    """Remove all rows but the seeds; the append-only triggers do not see a TRUNCATE."""
    with engine.begin() as connection:
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=0")
        for table in schema.metadata.sorted_tables:
            if table.name not in SEEDED and connection.execute(sa.select(sa.literal(1)).select_from(table)).first():
                truncate = sa.DDL("TRUNCATE TABLE %(fullname)s")  # type: ignore[no-untyped-call]
                connection.execute(truncate.against(table))
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS=1")


def digests(engine: sa.Engine) -> dict[str, str]:
    """Return the SHA-256 of what each table says, without what depends on ids and on the course of a run."""
    i, e, d, s = schema.instruments, schema.exchanges, schema.data_sources, schema.streams
    found = {}
    with engine.connect() as connection:
        for table in (schema.bars, schema.bar_revisions, schema.corporate_actions, schema.corporate_action_revisions):
            columns = [c for c in table.columns if c.name not in {"instrument_id", "source_id", "batch_id"}]
            query = (
                sa.select(i.c.symbol, e.c.mic, d.c.name, *columns)
                .select_from(table)
                .join(i, i.c.id == table.c.instrument_id)
                .join(e, e.c.id == i.c.exchange_id)
                .join(d, d.c.id == table.c.source_id)
            )
            found[table.name] = _sha256(connection, query)
        letters = schema.dead_letters
        columns = [c for c in letters.columns if c.name not in {"id", "stream_id", "batch_id"}]
        query = sa.select(s.c.topic, *columns).join(s, s.c.id == letters.c.stream_id)
        found[letters.name] = _sha256(connection, query)
    return found


def _sha256(connection: sa.Connection, query: sa.Select[Any]) -> str:
    digest = hashlib.sha256()
    for row in sorted(repr(tuple(row)) for row in connection.execute(query)):
        digest.update(row.encode())
    return digest.hexdigest()
