"""doctor, urls, logs and reset: what they find, mask, follow and refuse."""

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from streamlake_assets.commands import supervise
from streamlake_assets.errors import AlreadyRunningError, UsageError
from streamlake_assets.servers import doctor
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql_users import ensure_passwords
from streamlake_assets.servers.process import marked_processes
from streamlake_assets.servers.supervisor import ServiceSpec, Supervisor
from streamlake_assets_tests.conftest import settings_in


def finding(name: str, findings: list[doctor.Finding]) -> doctor.Finding:
    return next(found for found in findings if found.name == name)


def test_doctor_finds_nothing_wrong_with_a_machine_that_runs_the_tests(tmp_path: Path) -> None:
    findings = doctor.examine(settings_in(tmp_path / "home"))
    assert [found for found in findings if not found.ok] == []
    assert not (tmp_path / "home").exists()


def test_doctor_names_missing_programs_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    findings = doctor.examine(settings_in(tmp_path / "home"))
    for name, package in (("Java 17 or newer", "openjdk-17"), ("Java compiler", "openjdk-17"), ("Maven", "maven")):
        assert not finding(name, findings).ok
        assert package in finding(name, findings).remedy


def test_doctor_names_the_holder_of_a_port(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.panel_port))
        holder.listen()
        found = finding(f"port {settings.panel_port}", doctor.examine(settings))
    assert not found.ok
    assert f"(pid {os.getpid()})" in found.detail
    assert "STREAMLAKE_PANEL_PORT" in found.remedy


def test_doctor_wants_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISK_NEEDED_GB", 1e9)
    assert not finding("disk of the data folder", doctor.examine(settings_in(tmp_path / "home"))).ok


def test_doctor_reports_a_configured_server_that_does_not_answer(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home", mysql_url="mysql+pymysql://u:p@127.0.0.1:1/d")
    found = finding("configured mysql", doctor.examine(settings))
    assert not found.ok
    assert "STREAMLAKE_MYSQL_URL" in found.detail


def test_urls_mask_passwords_unless_asked(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home", mongo_url="mongodb://ann:hunter2@db.example:27017/x")
    assert "set up at the first" in supervise.urls(settings)["mysql_reader"]
    passwords = ensure_passwords(Home.of(settings).create().secrets)
    shown = supervise.urls(settings)
    assert shown["documents"] == "mongodb://ann:***@db.example:27017/x"
    assert shown["mysql_reader"].startswith("mysql+pymysql://streamlake_reader:***@127.0.0.1:")
    assert not any(password in url for password in passwords.values() for url in shown.values())
    assert passwords["reader"] in supervise.urls(settings, show_secrets=True)["mysql_reader"]
    assert shown["kafka"] == settings.kafka


def test_damaged_secrets_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "mysql.json"
    path.parent.mkdir()
    path.write_text("[]")
    with pytest.raises(UsageError, match=r"mysql\.json is damaged"):
        ensure_passwords(path)


def test_logs_show_the_end_and_follow(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    log = Home.of(settings).create().logs / "consumer.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)))
    assert list(supervise.logs(settings, "consumer", lines=2)) == ["line 98", "line 99"]
    following = supervise.logs(settings, "consumer", lines=1, follow=True)
    assert next(following) == "line 99"

    def add() -> None:
        with log.open("a") as file:
            file.write("more\n")
        log.replace(log.with_suffix(".log.1"))
        log.write_text("after the rotation\n")

    threading.Timer(0.1, add).start()
    assert next(following) == "more"
    assert next(following) == "after the rotation"
    with pytest.raises(UsageError, match=r"there is no log \.\./baker; there are: consumer"):
        next(supervise.logs(settings, "../baker"))


def test_logs_of_an_unknown_name_lists_the_names(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no log kafka; there are: none yet"):
        next(supervise.logs(settings_in(tmp_path / "home"), "kafka"))


def test_reset_deletes_our_folder_only(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    assert supervise.reset(settings)["deleted"] is False
    home = Home.of(settings).create()
    (home.data / "kafka").mkdir()
    (home.data / "kafka" / "segment").write_text("x")
    (tmp_path / "neighbour").write_text("kept")
    (home.root / "link").symlink_to(tmp_path)
    assert supervise.reset(settings)["deleted"] is True
    assert [path.name for path in tmp_path.iterdir()] == ["neighbour"]


def test_reset_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="nothing deleted"):
        supervise.reset(settings_in(tmp_path))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_reset_refuses_while_a_supervisor_runs(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "home")
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    with Supervisor(settings, lambda _: None) as supervisor:
        supervisor.start(ServiceSpec("sleeper", argv))
        with pytest.raises(AlreadyRunningError):
            supervise.reset(settings)
        assert supervisor.child("sleeper").running
    assert [pid for pid, env in marked_processes() if env["STREAMLAKE_CHILD_HOME"] == str(settings.data_dir)] == []
    assert supervise.reset(settings)["deleted"] is True
