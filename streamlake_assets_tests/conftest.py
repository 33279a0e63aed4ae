"""Fixtures that all tests share: real servers, started once per session on free ports in a temporary folder.

``test_settings`` alone starts nothing; ``kafka_server``, ``mysql_server`` and ``document_server`` start what they name.
MySQL tests run on the pinned MariaDB; a test that takes ``each_mysql`` runs on the real MySQL too, where it can be had.
"""

import random
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from streamlake_assets.errors import ArtifactError, MissingToolError
from streamlake_assets.servers.debian_mysql import fetch_mysql
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.process import (
    HOME_VARIABLE,
    KILL_WAIT_S,
    OWNER_VARIABLE,
    ChildRegistry,
    alive,
    end_identities,
    identity,
    marked_processes,
)
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole, Settings

# the same examples in each run, so that a change is judged by what it changed; `make test-full` looks for new ones.
# No deadline: a busy machine is not a fault
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.register_profile("searching", deadline=None, print_blob=True)

real_mysql_missing = pytest.StashKey[str]()


def free_port() -> int:
    """Return a port nobody listens on, below the range that outgoing connections take theirs from."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def settings_in(home: Path, **changes: object) -> Settings:
    """Settings of a test: own folder, own ports, nothing from the environment or ``.env`` but other defaults."""
    ports = (
        "kafka_port",
        "kafka_controller_port",
        "mysql_port",
        "mongo_port",
        "dagster_port",
        "panel_port",
        "consumer_port",
        "scorer_port",
        "alerts_port",
        "nifi_port",
        "nifi_management_port",
    )
    roles = ("writer", "reader", "bi", "actions")
    urls = ("mysql_url", *(f"mysql_{role}_url" for role in roles), "mongo_url", "kafka_bootstrap", "panel_password")
    values: dict[str, object] = {port: free_port() for port in ports}
    values |= dict.fromkeys(urls, "")
    values |= {"home": home, "local_mysql": "mariadb"}
    return Settings(_env_file=None, **{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def test_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings that point to this session's servers; starts nothing."""
    return settings_in(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def child_registry(test_settings: Settings) -> ChildRegistry:
    """Record of this session's servers; ends those of an earlier session that was killed."""
    # session folders end in a number, the folders of single tests (which make orphans on purpose) do not
    session_home = re.compile(re.escape(str(test_settings.data_dir.parent.parent)) + r"/.*/(home|real-mysql)\d+")
    abandoned = {
        found
        for pid, environment in marked_processes()
        if session_home.fullmatch(environment[HOME_VARIABLE])
        and not alive(environment.get(OWNER_VARIABLE, ""))
        and (found := identity(pid))
    }
    end_identities(abandoned, signal.SIGKILL, wait_s=KILL_WAIT_S)
    return ChildRegistry(Home.of(test_settings).create())


@pytest.fixture(scope="session")
def kafka_server(test_settings: Settings, child_registry: ChildRegistry) -> Iterator[LocalKafka]:
    """The real Kafka broker, at ``test_settings.kafka``."""
    server = LocalKafka(test_settings, child_registry)
    server.prepare(print_line)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mysql_server(test_settings: Settings, child_registry: ChildRegistry) -> Iterator[LocalMysql]:
    """The pinned MariaDB, at ``test_settings.mysql(role)``."""
    server = LocalMysql(test_settings, child_registry, durable=False)
    server.prepare(print_line)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def document_server(test_settings: Settings, child_registry: ChildRegistry) -> Iterator[LocalDocumentStore]:
    """The stand-in for MongoDB, at ``test_settings.mongo``."""
    server = LocalDocumentStore(test_settings, child_registry)
    server.prepare(print_line)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fresh_database(mysql_server: LocalMysql, test_settings: Settings) -> Settings:
    """An empty schema on the MariaDB for this module; returns the settings that point to it."""
    recreate_database(test_settings)
    return test_settings


@pytest.fixture(scope="session")
def real_mysql_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings that point to a running real MySQL from Debian sid; ask for it through ``each_mysql``."""
    settings = settings_in(tmp_path_factory.mktemp("real-mysql"), local_mysql="mysql")
    server = LocalMysql(settings, ChildRegistry(Home.of(settings).create()), durable=False)
    server.prepare(print_line)
    server.start()
    yield settings
    server.stop()


@pytest.fixture(scope="module")
def each_mysql(request: pytest.FixtureRequest) -> Settings:
    """An empty schema, once on MariaDB and once on the real MySQL; returns the settings that point to it."""
    if request.param == "mariadb":
        request.getfixturevalue("mysql_server")
        settings: Settings = request.getfixturevalue("test_settings")
    else:
        settings = request.getfixturevalue("real_mysql_settings")
    recreate_database(settings)
    return settings


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that take ``each_mysql`` on MariaDB, and on the real MySQL where it can be had."""
    if "each_mysql" not in metafunc.fixturenames:
        return
    flavours = ["mariadb"]
    # a run without servers must not download any
    if "not servers" not in str(metafunc.config.getoption("-m")) and real_mysql_reason(metafunc.config) == "":
        flavours.append("mysql")
    metafunc.parametrize("each_mysql", flavours, indirect=True, scope="module")


def real_mysql_reason(config: pytest.Config) -> str:
    """Return why the real MySQL cannot be had, or an empty text; asked once per session."""
    if real_mysql_missing not in config.stash:
        try:
            fetch_mysql(print_line)
        except (ArtifactError, MissingToolError) as error:
            config.stash[real_mysql_missing] = str(error)
        else:
            config.stash[real_mysql_missing] = ""
    return config.stash[real_mysql_missing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say when the store's contract ran on MariaDB alone."""
    if reason := config.stash.get(real_mysql_missing, ""):
        terminalreporter.write_line(f"the store's contract ran on MariaDB only, not on the real MySQL: {reason}")


def recreate_database(settings: Settings) -> None:
    """Drop and create the schema ``streamlake`` as the migration user."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(settings.mysql(DatabaseRole.MIGRATE))
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS `{DATABASE}`")
        connection.exec_driver_sql(f"CREATE DATABASE `{DATABASE}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
    engine.dispose()


def print_line(line: str) -> None:
    """Show progress of a download under ``pytest -s``."""
    print(line)  # noqa: T201
