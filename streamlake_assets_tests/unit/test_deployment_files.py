"""The image's recipe, what containers start with, Dagster's files, the secrets made. No container runs here."""

import http.server
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import make_secrets
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores.migrate import _user
from streamlake_assets_tests.deployment import ROOT, compose, dagster_yaml, launcher_config, services

DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    (found[1], " ".join(found[2].replace("\\\n", " ").split()))
    for found in re.finditer(r"^([A-Z]+) +((?:[^\\\n]|\\\n|\\.)*)$", DOCKERFILE, re.MULTILINE)
]
USER = "10001:10001"


def of(instruction: str) -> list[str]:
    return [text for name, text in INSTRUCTIONS if name == instruction]


def last_stage() -> list[tuple[str, str]]:
    start = max(number for number, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    return INSTRUCTIONS[start:]


def test_the_image_is_built_in_stages_on_a_pinned_python() -> None:
    assert len(of("FROM")) == 2
    bases = {text.partition(" ")[0] for text in of("FROM")}
    (base,) = bases
    # Java 17 is Debian 12's
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base)


def test_packages_are_the_lock_s_by_hash() -> None:
    pip = [text for text in of("RUN") if "pip install" in text]
    commands = [part for text in pip for part in text.split("&&") if "pip install" in part]
    own = [part for part in commands if "-e ." in part]
    assert len(own) == 1
    assert "--no-deps" in own[0]
    for command in set(commands) - set(own):
        assert "--require-hashes" in command
    assert any("--constraints requirements.lock" in command for command in commands)
    assert (ROOT / "requirements-bootstrap.txt").read_text().count("--hash=") == 1


def test_the_image_runs_as_a_user_that_exists_and_has_java_for_spark() -> None:
    stage = last_stage()
    runs = " ".join(text for name, text in stage if name == "RUN")
    assert "openjdk-17-jre-headless" in runs
    assert "--uid 10001" in runs
    users = [text for name, text in stage if name == "USER"]
    assert users == [USER]
    after = [name for name, _ in stage[[name for name, _ in stage].index("USER") :]]
    assert after == ["USER", "ENTRYPOINT", "CMD"], "nothing is done as root after it"
    assert {service["user"] for service in services().values() if service["image"].startswith("streamlake:")} == {USER}
    assert launcher_config()["container_kwargs"]["user"] == USER


def test_the_image_holds_no_secret_and_nothing_but_the_program() -> None:
    assert not of("ARG")
    assert not of("ADD")
    names = set(re.findall(r"(\w+)=", " ".join(of("ENV"))))
    assert {name for name in names if re.search("PASS|SECRET|TOKEN|KEY|URL", name)} == set()
    ignore = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert ignore[0] == "*", "what is not named does not go in"
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        word.removeprefix("./") for text in of("COPY") if not text.startswith("--from") for word in text.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert "deploy/secrets" in ignore
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_dagster_s_files_are_where_the_image_says() -> None:
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(of("ENV"))))
    home = Path(environment["DAGSTER_HOME"]).relative_to("/opt/streamlake")
    assert (ROOT / home / "dagster.yaml").exists()
    assert environment["STREAMLAKE_HOME"] == services()["scorer"]["environment"]["STREAMLAKE_HOME"]
    for part in ("local_artifact_storage", "compute_logs"):
        assert dagster_yaml()[part]["config"]["base_dir"].startswith(environment["STREAMLAKE_HOME"])
    mounted = {volume["bind"] for volume in launcher_config()["container_kwargs"]["volumes"].values()}
    assert mounted == {environment["STREAMLAKE_HOME"], "/run/secrets"}


def test_dagster_runs_as_in_local_mode() -> None:
    local: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    deployed = dagster_yaml()
    for part, given in local.items():
        assert given.items() <= deployed[part].items(), part
    assert set(deployed) - set(local) == {"storage", "local_artifact_storage", "compute_logs", "run_launcher"}
    assert deployed["run_monitoring"]["start_timeout_seconds"] >= 60


def test_dagster_finds_its_code_server() -> None:
    (location,) = yaml.safe_load((ROOT / "deploy/dagster/workspace.yaml").read_text())["load_from"]
    local = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    server = location["grpc_server"]
    assert server["location_name"] == local["location_name"]
    command = services()[server["host"]]["command"]
    assert command[command.index("--port") + 1] == str(server["port"])
    assert command[command.index("--module-name") + 1] == local["module_name"]


def test_every_secret_is_made_once_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_secrets, "hashed", lambda secret: f"hash-of-{len(secret)}")
    folder = tmp_path / "secrets"
    made = make_secrets.make(folder)
    wanted = {Path(secret["file"]).relative_to("deploy/secrets") for secret in compose()["secrets"].values()}
    assert {Path(name) for name in made} == wanted | {Path("logins.txt")}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "logins.txt").stat().st_mode) == 0o600
    device = compose()["volumes"]["run-secrets"]["driver_opts"]["device"]
    assert folder / Path(device).relative_to("deploy/secrets") == folder / "run"
    values = {name: (folder / name).read_text() for name in made}
    generated = [re.findall(r"[0-9a-f]{48}", value) for name, value in values.items() if name != "logins.txt"]
    passwords = [password for found in generated for password in found]
    assert len(passwords) == len(set(passwords)) == 13
    assert make_secrets.make(folder) == []
    assert {name: (folder / name).read_text() for name in made} == values
    (folder / "elastic_password").unlink()
    assert make_secrets.make(folder) == ["elastic_password"]


def test_made_urls_lead_to_the_servers_as_the_right_users(tmp_path: Path) -> None:
    from sqlalchemy import make_url

    for role in DatabaseRole:
        url = make_url(make_secrets.mysql_url(role.value))
        assert url.username == _user(role)
        assert (url.host in services(), url.port, url.database) == (True, 3306, "streamlake")
    for name, value in make_secrets.wanted().items():
        if name.startswith("run/streamlake_"):
            assert name.removeprefix("run/streamlake_") in Settings.model_fields
            assert value


def mysql_init(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Source the init script as the image does, with a client that prints what it gets."""
    script = f"""
    set -eo pipefail
    shopt -s nullglob
    docker_process_sql() {{ cat; }}
    . {ROOT}/deploy/init/mysql_users.sh
    """
    return subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/bin:/bin", "INIT_SECRETS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def mysql_secrets(folder: Path) -> dict[str, str]:
    urls = {f"mysql_{role.value}_url": make_secrets.mysql_url(role.value) for role in DatabaseRole}
    for name, url in urls.items():
        (folder / name).write_text(url + "\n")
    return urls


def test_the_first_start_of_mysql_makes_the_five_users(tmp_path: Path) -> None:
    urls = mysql_secrets(tmp_path)
    done = mysql_init(tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for role in DatabaseRole:
        password = re.findall(r":([0-9a-f]{48})@", urls[f"mysql_{role.value}_url"])[0]
        assert f"CREATE USER IF NOT EXISTS '{_user(role)}'@'%' IDENTIFIED BY '{password}';" in lines
    grants = [line for line in lines if line.startswith("GRANT")]
    assert len(grants) == 2, "tables are granted one by one, by streamlake migrate"
    assert all(_user(DatabaseRole.MIGRATE) in line for line in grants)


@pytest.mark.parametrize("url", ["mysql+pymysql://a:x'; DROP@mysql/streamlake", "mysql+pymysql://mysql/streamlake", ""])
def test_the_first_start_of_mysql_refuses_a_password_that_is_none(tmp_path: Path, url: str) -> None:
    mysql_secrets(tmp_path)
    (tmp_path / "mysql_bi_url").write_text(url)
    done = mysql_init(tmp_path)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "mysql_bi_url" in done.stderr
    assert "DROP" not in done.stderr


def test_mongo_s_users_are_those_of_the_urls() -> None:
    text = (ROOT / "deploy/init/mongo_users.js").read_text()
    pairs = dict(re.findall(r'\["(\w+)", "(\w+)"\]', text))
    assert pairs == {"mongo_url": "readWrite", "mongo_reader_url": "read"}
    assert set(pairs) <= set(services()["mongo"]["secrets"])


def test_a_container_starts_with_dagster_s_password_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "dagster_postgres_password").write_text("of the file\n")
    command = ["sh", "deploy/entrypoint.sh", "sh", "-c", 'printf "%s" "$DAGSTER_POSTGRES_PASSWORD|$1"', "x", "a b"]
    for folder, said in ((tmp_path, "of the file|a b"), (tmp_path / "none", "|a b")):
        done = subprocess.run(
            command, cwd=ROOT, env={"PATH": "/usr/bin:/bin", "STREAMLAKE_SECRETS_DIR": str(folder)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == said


def test_a_password_of_another_image_comes_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("$(reboot) 'x'")
    script = ["sh", "deploy/with_password.sh", "ELASTIC_PASSWORD", str(tmp_path / "password")]
    done = subprocess.run(
        [*script, "printenv", "ELASTIC_PASSWORD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "$(reboot) 'x'\n"
    (tmp_path / "password").unlink()
    failed = subprocess.run([*script, "printenv"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode != 0
    assert failed.stdout == ""


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (None, 1)])
def test_the_probe_says_what_the_address_says(status: int | None, code: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.send_response(status or 200)
            self.end_headers()

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_address[1]}/healthz"
    if status is None:
        server.server_close()
    else:
        threading.Thread(target=server.handle_request, daemon=True).start()
    probe = [sys.executable, "deploy/probe.py", address]
    assert subprocess.run(probe, cwd=ROOT, capture_output=True, check=False).returncode == code
    server.server_close()
