"""The three real servers: start, crash, restart, what they say of themselves, and what they refuse."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import sqlalchemy
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streamlake_assets.errors import PortInUseError, ServerError, UsageError
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.mysql_flavour import Choice
from streamlake_assets.servers.ports import port_is_free
from streamlake_assets.servers.probes import server_version
from streamlake_assets.servers.process import ChildRegistry, marked_processes
from streamlake_assets.servers.supervisor import Supervisor
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets_tests.conftest import print_line, settings_in

pytestmark = pytest.mark.servers
Say = Callable[[str], None]


def registry(settings: Settings) -> ChildRegistry:
    return ChildRegistry(Home.of(settings).create())


def scalar(url: str, statement: str) -> Any:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.scalar(sqlalchemy.text(statement))
    finally:
        engine.dispose()


def test_supervisor_starts_all_restarts_what_died_and_leaves_nothing(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    said: list[str] = []
    with Supervisor(settings, said.append, durable=False) as supervisor:
        infos = {info.name: info for info in supervisor.start_servers()}
        assert "the real broker" in infos["kafka"].line
        assert "in place of MySQL (STREAMLAKE_LOCAL_MYSQL=mariadb)" in infos["mysql"].line
        assert "a stand-in for MongoDB" in infos["documents"].line
        assert "not MongoDB" in infos["documents"].line
        admin = AdminClient({"bootstrap.servers": settings.kafka})
        admin.create_topics([NewTopic("t", 1, 1)])["t"].result(30)
        with pymongo.MongoClient[dict[str, Any]](settings.mongo) as client:
            client.test.kept.insert_one({"_id": 1})
        for name in infos:
            supervisor.child(name).kill()
        assert wait_until(lambda: sum("is up again" in line for line in said) == 3, 90), said
        assert "t" in admin.list_topics(timeout=20).topics
        with pymongo.MongoClient[dict[str, Any]](settings.mongo) as client:
            assert client.test.kept.count_documents({}) == 1
        assert scalar(settings.mysql(DatabaseRole.MIGRATE), "SELECT 1") == 1
    assert [pid for pid, env in marked_processes() if env["STREAMLAKE_CHILD_HOME"] == str(settings.data_dir)] == []
    ports = (settings.kafka_port, settings.kafka_controller_port, settings.mysql_port, settings.mongo_port)
    assert all(port_is_free(port) for port in ports)


def test_a_signal_during_the_start_ends_what_has_started(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from streamlake_assets.servers.supervisor import Supervisor\n"
        "from streamlake_assets.settings import Settings\n"
        "settings = Settings(_env_file=None, **eval(sys.argv[1]), home=Path(sys.argv[2]))\n"
        "with Supervisor(settings, lambda line: print(line, flush=True)) as supervisor:\n"
        "    supervisor.start_servers()\n"
    )
    ports = {
        name: getattr(settings, name) for name in ("kafka_port", "kafka_controller_port", "mysql_port", "mongo_port")
    }
    arguments = repr(ports | {"local_mysql": "mariadb"})
    process = subprocess.Popen(
        [sys.executable, "-c", code, arguments, str(settings.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    children = Home.of(settings).children
    assert wait_until(children.exists, 60)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in errors
    assert [pid for pid, env in marked_processes() if env["STREAMLAKE_CHILD_HOME"] == str(settings.data_dir)] == []


def test_kafka_refuses_unknown_topics_and_answers(kafka_server: LocalKafka, test_settings: Settings) -> None:
    topics = AdminClient({"bootstrap.servers": test_settings.kafka}).list_topics("misspelt", timeout=20).topics
    assert topics["misspelt"].error is not None
    assert kafka_server.info().pid == kafka_server.child.pid  # type: ignore[union-attr]


def test_a_second_broker_on_the_same_data_folder_is_refused(kafka_server: LocalKafka, test_settings: Settings) -> None:
    other_ports = settings_in(test_settings.home)
    second = LocalKafka(other_ports, ChildRegistry(Home.of(test_settings)))
    second.prepare(print_line)
    with pytest.raises(ServerError, match="another Kafka broker uses"):
        second.start()
    assert kafka_server.child is not None
    assert kafka_server.child.running


def test_a_broker_that_dies_at_the_start_is_an_error_with_its_log(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    server = LocalKafka(settings, registry(settings))
    server.prepare(print_line)
    (server.data / "meta.properties").write_text("version=99\n")
    with pytest.raises(ServerError, match=r"kafka ended with exit code 1 before it answered; log: .*kafka\.log"):
        server.start()


def test_a_port_in_use_is_named_with_setting_and_holder(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    server = LocalDocumentStore(settings, registry(settings))
    server.prepare(print_line)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.mongo_port))
        holder.listen()
        with pytest.raises(PortInUseError) as caught:
            server.start()
    message = str(caught.value)
    assert str(settings.mongo_port) in message
    assert "STREAMLAKE_MONGO_PORT" in message
    assert f"(pid {os.getpid()})" in message
    assert caught.value.exit_code == 2


@pytest.fixture
def untouched_mysql(tmp_path: Path) -> Iterator[Settings]:
    """A server of its own: on the shared one other tests have granted rights, which outlive a dropped database."""
    settings = settings_in(tmp_path / "home")
    server = LocalMysql(settings, registry(settings), durable=False)
    server.prepare(print_line)
    server.start()
    yield settings
    server.stop()


def test_mysql_users_and_their_rights(untouched_mysql: Settings) -> None:
    test_settings = untouched_mysql
    secrets = Home.of(test_settings).secrets
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(secrets.parent.stat().st_mode) == 0o700
    passwords = json.loads(secrets.read_text())
    assert set(passwords) == {"root", *(role.value for role in DatabaseRole)}
    assert len(set(passwords.values())) == len(passwords)
    for role in DatabaseRole:
        if role is not DatabaseRole.MIGRATE:
            with pytest.raises(sqlalchemy.exc.OperationalError, match="denied"):
                scalar(test_settings.mysql(role), "SELECT 1")  # no rights before the migrations grant them
    migrate = test_settings.mysql(DatabaseRole.MIGRATE)
    assert scalar(migrate, "SELECT @@character_set_database") == "utf8mb4"
    assert scalar(migrate, "SELECT @@collation_database") == "utf8mb4_unicode_ci"
    assert scalar(migrate, "SELECT @@local_infile") == 1
    assert server_version(test_settings.mysql_port, "root", "") is None
    root = migrate.replace(f"streamlake_migrate:{passwords['migrate']}", f"root:{passwords['root']}")
    nobody = (
        "SELECT count(*) FROM mysql.user WHERE user = '' OR user = 'root' AND host NOT IN ('127.0.0.1', 'localhost')"
    )
    assert scalar(root, nobody) == 0
    assert not (Home.of(test_settings).run / "mysql-init.sql").exists()


def test_mysql_keeps_rows_and_gets_new_passwords_when_the_secrets_are_lost(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    server = LocalMysql(settings, registry(settings))
    server.prepare(print_line)
    server.start()
    try:
        engine = sqlalchemy.create_engine(settings.mysql(DatabaseRole.MIGRATE))
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE kept (id INT PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO kept VALUES (7)")
        engine.dispose()
        assert server.child is not None
        server.child.kill()
        assert wait_until(lambda: not server.child.running, 10)  # type: ignore[union-attr]
        before = settings.mysql(DatabaseRole.MIGRATE)
        Home.of(settings).secrets.unlink()
        server.start()
        assert settings.mysql(DatabaseRole.MIGRATE) != before
        assert scalar(settings.mysql(DatabaseRole.MIGRATE), "SELECT id FROM kept") == 7
    finally:
        server.stop()


def test_an_interrupted_set_up_is_repeated(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    server = LocalMysql(settings, registry(settings))
    half_done = server.data.with_name("mysql.partial") / "files"
    half_done.mkdir(parents=True)
    (half_done / "ibdata1").write_text("half")
    server.prepare(print_line)
    server.start()
    server.stop()
    assert not half_done.parent.exists()
    assert json.loads((server.data / "server.json").read_text())["flavour"] == "mariadb"


@pytest.mark.parametrize(
    ("recorded", "wanted", "message"),
    [
        (Choice("mariadb", "11.4.5", "test"), "mysql", "STREAMLAKE_LOCAL_MYSQL=mysql, but .* was made by mariadb"),
        (Choice("mysql", "9.7.4-2", "test"), "mariadb", "STREAMLAKE_LOCAL_MYSQL=mariadb, but .* was made by mysql"),
        (Choice("mariadb", "10.0.0", "test"), "auto", "was made by MariaDB 10.0.0, this release runs"),
    ],
)
def test_data_of_another_server_are_refused(tmp_path: Path, recorded: Choice, wanted: str, message: str) -> None:
    settings = settings_in(tmp_path / "home", local_mysql=wanted)
    server = LocalMysql(settings, registry(settings))
    server.data.mkdir(parents=True)
    recorded.record(server.data)
    with pytest.raises(UsageError, match=message):
        server.prepare(print_line)


def test_each_mysql_answers_with_its_flavour(each_mysql: Settings) -> None:
    version = str(scalar(each_mysql.mysql(DatabaseRole.MIGRATE), "SELECT VERSION()"))
    assert ("MariaDB" in version) == (each_mysql.local_mysql == "mariadb")
    assert scalar(each_mysql.mysql(DatabaseRole.MIGRATE), "SELECT DATABASE()") == "streamlake"


def test_the_document_store_says_that_it_is_a_stand_in(
    document_server: LocalDocumentStore, test_settings: Settings
) -> None:
    with pymongo.MongoClient[dict[str, Any]](test_settings.mongo) as client:
        assert "mongo-java-server" in client.admin.command("buildInfo")["standIn"]
        collection = client.test.bars
        collection.create_index([("a", 1), ("b", 1)], unique=True)
        collection.insert_one({"_id": 1, "a": 1, "b": 2})
        with pytest.raises(pymongo.errors.DuplicateKeyError):
            collection.insert_one({"_id": 2, "a": 1, "b": 2})
        client.drop_database("test")
