"""One way to reach MySQL: engines with the session settings that make MySQL and MariaDB behave alike.

Belongs here: engine making, session variables, what errors mean, an insert that another process may have made. Stays
out: SQL of any one table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import IntegrityError as DuplicateKey

from streamlake_assets.errors import SettingError, TryLaterError, UsageError
from streamlake_assets.settings import DatabaseRole, Settings

SQL_MODE = (
    "STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)
"""The same strictness on both servers; their defaults differ."""

# 1040 too many connections, 1053 shutdown, 1205 lock wait, 1213 deadlock, 2003 no connection, 2006 and 2013 lost,
# 1927 killed, 3169 killed, 1158-1161 network: the data are fine and the same call may succeed later
_TRY_LATER = frozenset({1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 3169, 4031})
# the server's disk or table space is full: somebody makes room, and the same call succeeds
_NO_SPACE = frozenset({1021, 1026, 1114})
# 1044 no right to the database, 1045 and 1698 wrong user or password, 1049 no such database: no retry helps
_REFUSED = frozenset({1044, 1045, 1049, 1698})
_NO_SUCH_TABLE = 1146
_DUPLICATE_ENTRY = 1062

ANSWER_TIMEOUT_S = 60
"""Longest silence of the server within one statement, in seconds."""
MIGRATE_TIMEOUT_S = 300
"""The same for the migrating user: a change of a large table takes minutes."""


def make_engine(settings: Settings, role: DatabaseRole, pool_size: int = 2, local_infile: bool = False) -> sa.Engine:
    """Return an engine for one database user; connects when first used.

    Sessions are UTC, strict and READ COMMITTED: an upsert then takes no gap locks that could deadlock two writers.

    Args:
        settings: where the server is.
        role: which user.
        pool_size: connections kept.
        local_infile: whether the server may ask this process for a file: only a bulk load needs it.

    Raises:
        SettingError: the URL cannot be parsed or names another kind of database.
    """
    example = "it looks like mysql+pymysql://user:password@host:3306/streamlake"
    try:
        url = sa.make_url(settings.mysql(role))
    except (sa.exc.ArgumentError, ValueError):
        raise SettingError(f"STREAMLAKE_MYSQL_URL is not a URL; {example}") from None
    if url.get_backend_name() not in ("mysql", "mariadb"):
        raise SettingError(f"STREAMLAKE_MYSQL_URL names {url.get_backend_name()!r}: only MySQL and MariaDB are served")
    silence_s = MIGRATE_TIMEOUT_S if role is DatabaseRole.MIGRATE else ANSWER_TIMEOUT_S
    try:
        engine = sa.create_engine(
            url,
            pool_size=pool_size,
            max_overflow=4,
            pool_pre_ping=True,
            pool_recycle=1800,
            isolation_level="READ COMMITTED",
            # an error must not carry payloads into a log
            hide_parameters=True,
            connect_args={
                "connect_timeout": 5,
                "read_timeout": silence_s,
                "write_timeout": silence_s,
                "local_infile": local_infile,
            },
        )
    except (sa.exc.NoSuchModuleError, ImportError):
        raise SettingError(
            f"STREAMLAKE_MYSQL_URL names the driver {url.drivername!r}, which is not installed; {example}"
        ) from None

    @sa.event.listens_for(engine, "connect")
    def _session(connection, _record) -> None:  # type: ignore[no-untyped-def]
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION sql_mode='{SQL_MODE}', time_zone='+00:00', innodb_lock_wait_timeout=10")

    return engine


@contextmanager
def outages_as_try_later(what: str) -> Iterator[None]:
    """Turn database errors that a user can mend into the project's own; all others pass through unchanged.

    Raises:
        TryLaterError: an outage.
        SettingError: the server refuses user, password or database.
        UsageError: a table is missing.
    """
    try:
        yield
    except DBAPIError as error:
        if is_outage(error):
            raise TryLaterError(f"{what}: {error.orig}") from error
        code = _code(error)
        if code in _REFUSED:
            raise SettingError(f"MySQL refuses {what}: {error.orig}: check STREAMLAKE_MYSQL_URL") from error
        if code == _NO_SUCH_TABLE:
            raise UsageError(f"the schema is missing ({what}: {error.orig}): run `streamlake migrate`") from error
        raise


def is_outage(error: DBAPIError) -> bool:
    """Tell whether a database error says that the server or a lock was not available."""
    return bool(error.connection_invalidated) or _code(error) in _TRY_LATER | _NO_SPACE


def _code(error: DBAPIError) -> Any:
    return error.orig.args[0] if error.orig is not None and error.orig.args else None


def insert_unless_there(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> bool:
    """Insert rows unless one of their keys is there already; return whether they were written."""
    try:
        with connection.begin_nested():
            connection.execute(sa.insert(table), rows)
    except DuplicateKey as error:
        if error.orig is None or error.orig.args[0] != _DUPLICATE_ENTRY:
            raise
        return False
    return True
