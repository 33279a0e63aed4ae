"""Servers that a setting names: one that does not answer is an error with the setting's name, never a local server."""

from pathlib import Path

import pytest

from streamlake_assets.errors import SettingError
from streamlake_assets.servers import configured
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.process import marked_processes
from streamlake_assets.servers.supervisor import Supervisor
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets_tests.conftest import free_port, settings_in


@pytest.fixture(autouse=True)
def short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "PROBE_TIMEOUT_S", 1.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kafka_bootstrap", "127.0.0.1:{port}"),
        ("mysql_url", "mysql+pymysql://u:hunter2@127.0.0.1:{port}/d"),
        ("mongo_url", "mongodb://u:hunter2@127.0.0.1:{port}/d"),
    ],
)
def test_a_configured_server_that_does_not_answer_stops_the_start(tmp_path: Path, field: str, value: str) -> None:
    settings = settings_in(tmp_path / "home", **{field: value.format(port=free_port())})
    said: list[str] = []
    with (
        pytest.raises(SettingError, match=rf"STREAMLAKE_{field.upper()}.*does not answer") as caught,
        Supervisor(settings, said.append) as supervisor,
    ):
        supervisor.start_servers()
    assert caught.value.exit_code == 2
    assert "hunter2" not in str(caught.value)
    assert said == []
    assert [pid for pid, env in marked_processes() if env["STREAMLAKE_CHILD_HOME"] == str(settings.data_dir)] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("mysql_url", "no url"), ("mysql_url", "baker://x/y"), ("mongo_url", "mongodb://"), ("mongo_url", "http://x")],
)
def test_a_url_that_cannot_be_read_names_its_setting(tmp_path: Path, field: str, value: str) -> None:
    with pytest.raises(SettingError, match=f"STREAMLAKE_{field.upper()} cannot be read"):
        for server in configured.configured_servers(settings_in(tmp_path, **{field: value})):
            server.start()


@pytest.mark.servers
def test_configured_servers_are_used_as_they_are(
    tmp_path: Path,
    kafka_server: LocalKafka,
    mysql_server: LocalMysql,
    document_server: LocalDocumentStore,
    test_settings: Settings,
) -> None:
    settings = settings_in(
        tmp_path / "home",
        kafka_bootstrap=test_settings.kafka,
        mysql_url=test_settings.mysql(DatabaseRole.MIGRATE),
        mongo_url=test_settings.mongo,
    )
    with Supervisor(settings, lambda _: None) as supervisor:
        infos = {info.name: info for info in supervisor.start_servers()}
        assert all(info.configured and info.pid is None for info in infos.values())
        assert "MariaDB" in infos["mysql"].line
        assert "a stand-in for MongoDB" in infos["documents"].line
        assert infos["kafka"].address == test_settings.kafka
    assert kafka_server.child is not None
    assert kafka_server.child.running


@pytest.mark.servers
def test_a_refused_user_names_its_own_setting(
    tmp_path: Path, mysql_server: LocalMysql, test_settings: Settings
) -> None:
    good = test_settings.mysql(DatabaseRole.MIGRATE)
    wrong = f"mysql+pymysql://streamlake_reader:hunter2@127.0.0.1:{test_settings.mysql_port}/streamlake"
    settings = settings_in(tmp_path / "home", mysql_url=good, mysql_reader_url=wrong)
    with pytest.raises(SettingError, match=r"STREAMLAKE_MYSQL_READER_URL .*denied") as caught:
        configured.ConfiguredMysql(settings).start()
    assert "hunter2" not in str(caught.value)
