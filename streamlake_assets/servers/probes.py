"""Asking a server whether it answers and what it is; for local servers on their way up and for configured ones.

Belongs here: one probe per kind of server, with a time limit. Stays out: what follows from the answer.
"""

import contextlib
from typing import Any

from streamlake_assets.errors import SettingError
from streamlake_assets.settings import LOOPBACK


def cluster_id(bootstrap: str, timeout_s: float) -> str | None:
    """Return the cluster's id if a broker answers within ``timeout_s`` seconds, else None."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # log_level 0: librdkafka prints a line for every refused connection
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
    try:
        metadata = client.list_topics(timeout=timeout_s)
    except KafkaException:
        return None
    return str(metadata.cluster_id) if metadata.brokers else None


def server_version(port: int, user: str, password: str) -> str | None:
    """Return the version of the server on 127.0.0.1 if this user can log in now, else None."""
    import pymysql

    try:
        connection = pymysql.connect(
            host=LOOPBACK, port=port, user=user, password=password, connect_timeout=2, read_timeout=5
        )
    except pymysql.err.OperationalError:
        return None
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        row = cursor.fetchone()
    return str(row[0]) if row else None


def build_info(url: str, timeout_s: float) -> dict[str, Any] | None:
    """Return what the server at ``url`` says of itself within ``timeout_s`` seconds, else None.

    Raises:
        SettingError: the URL cannot be read.
    """
    import pymongo
    from pymongo.errors import ConfigurationError, InvalidURI, PyMongoError

    milliseconds = int(timeout_s * 1000)
    try:
        with pymongo.MongoClient[dict[str, Any]](
            url,
            serverSelectionTimeoutMS=milliseconds,
            connectTimeoutMS=milliseconds,
            socketTimeoutMS=milliseconds,
        ) as client:
            return client.admin.command("buildInfo")
    except (InvalidURI, ConfigurationError) as error:
        raise SettingError(f"STREAMLAKE_MONGO_URL cannot be read: {error}") from error
    except PyMongoError:
        return None


def mongo_address(url: str) -> str:
    """Return the host part of a MongoDB URL, without user and password."""
    return url.partition("://")[2].rpartition("@")[2].partition("/")[0].partition("?")[0]


def http_ready(url: str | None) -> bool:
    """Say whether a service answers at its address with a status below 400; without an address it is ready."""
    if url is None:
        return True
    import httpx

    # trust_env off: a proxy of this machine must not be asked for the loopback
    try:
        return httpx.get(url, timeout=2.0, trust_env=False).status_code < 400
    except httpx.HTTPError:
        return False
