"""One way to reach MySQL: engines with the session settings that make MySQL and MariaDB behave alike.

Belongs here: engine making, session variables, which errors mean "try later". Stays out: SQL of any table.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.settings import DatabaseRole, Settings

SQL_MODE = (
    "STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ENGINE_SUBSTITUTION"
)
"""The same strictness on both servers; their defaults differ."""

# 1040 too many connections, 1053 shutdown, 1205 lock wait, 1213 deadlock, 2003 no connection, 2006 and 2013 lost,
# 1927 killed, 3169 killed, 1158-1161 network: the data are fine and the same call may succeed later
_TRY_LATER = frozenset({1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 1927, 2002, 2003, 2006, 2013, 3169, 4031})


def make_engine(settings: Settings, role: DatabaseRole, pool_size: int = 2) -> sa.Engine:
    """Return an engine for one database user; connects when first used.

    Sessions are UTC, strict and READ COMMITTED: an upsert then takes no gap locks that could deadlock two writers.

    Raises:
        SettingError: the URL cannot be parsed or names another kind of database.
    """
    try:
        url = sa.make_url(settings.mysql(role))
    except sa.exc.ArgumentError:
        raise SettingError(
            "STREAMLAKE_MYSQL_URL is not a URL; it looks like mysql+pymysql://user:password@host:3306/streamlake"
        ) from None
    if url.get_backend_name() not in ("mysql", "mariadb"):
        raise SettingError(f"STREAMLAKE_MYSQL_URL names {url.get_backend_name()!r}: only MySQL and MariaDB are served")
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=4,
        pool_pre_ping=True,
        pool_recycle=1800,
        isolation_level="READ COMMITTED",
        connect_args={"connect_timeout": 5, "read_timeout": 300, "write_timeout": 300, "local_infile": True},
    )

    @sa.event.listens_for(engine, "connect")
    def _session(connection, _record) -> None:  # type: ignore[no-untyped-def]
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION sql_mode='{SQL_MODE}', time_zone='+00:00', innodb_lock_wait_timeout=10")

    return engine


@contextmanager
def outages_as_try_later(what: str) -> Iterator[None]:
    """Turn errors that mean an outage into ``TryLaterError``; all others pass through unchanged."""
    try:
        yield
    except DBAPIError as error:
        if is_outage(error):
            raise TryLaterError(f"{what}: {error.orig}") from error
        raise


def is_outage(error: DBAPIError) -> bool:
    """Tell whether a database error says that the server or a lock was not available."""
    code = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return bool(error.connection_invalidated) or code in _TRY_LATER
