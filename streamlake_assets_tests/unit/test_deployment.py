"""docker-compose.yml: the rules that hold for every container. Parsed; no container runs here."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
from pydantic import SecretStr

from panel_app.serving import ENVIRONMENT, LIVENESS, serve_argv
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.consumer import FINISH_S
from streamlake_assets.stores.mysql import ANSWER_TIMEOUT_S
from streamlake_assets_tests.deployment import (
    ROOT,
    binds_of,
    compose,
    interpolated,
    is_own,
    launcher_config,
    raw_compose,
    secrets_of,
    services,
)

SERVICES = services()
ONE_SHOT = {"migrate", "tools"}
FORBIDDEN = {"privileged", "cap_add", "pid", "ipc", "network_mode", "devices", "userns_mode", "env_file", "userns"}
OUTSIDE = {"nifi": "HTTP sources", "tools": "providers", "alerts": "mail servers and webhooks"}
"""Who may reach the internet, and for what."""

CREDENTIAL = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY\Z|_URL\Z|_PASS\Z")
URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
HARMLESS = {
    "SINGLE_USER_CREDENTIALS_USERNAME": "a name",
    "STREAMLAKE_SECRETS_DIR": "a folder",
    "STREAMLAKE_NIFI_URL": "an address without a login",
    "STREAMLAKE_MASSIVE_URL": "an address without a login",
    "STREAMLAKE_ALPHA_VANTAGE_URL": "an address without a login",
}

LOCAL_ONLY = {
    "local_mysql": "which local server to start",
    "jdk21_home": "for a local NiFi",
    "kafka_port": "of the local server",
    "kafka_controller_port": "of the local server",
    "mysql_port": "of the local server",
    "mongo_port": "of the local server",
    "nifi_port": "of the local server",
    "nifi_management_port": "of the local server",
    "consumer_port": "inside its container it is free: the default",
    "scorer_port": "inside its container it is free: the default",
    "alerts_port": "inside its container it is free: the default",
}
"""Settings that mean nothing in containers. A new setting is either handed to a container or named here."""

FROM_THE_FILE = {"home", "secrets_dir", "kafka_bootstrap", "nifi_url", "nifi_user"}
"""Settings whose value follows from the compose file itself."""


def schema() -> dict[str, Any]:
    """The Compose specification's own schema, as the package check-jsonschema carries it."""
    path = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def seconds(duration: str) -> int:
    found = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration)
    assert found and duration, duration
    return 60 * int(found[1] or 0) + int(found[2] or 0)


@pytest.mark.parametrize("given", [raw_compose(), compose()], ids=["as written", "with its defaults"])
def test_the_file_is_valid_by_the_compose_specification(given: dict[str, Any]) -> None:
    errors = jsonschema.Draft202012Validator(schema()).iter_errors(given)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_schema_refuses_what_is_misspelt() -> None:
    wrong = {**compose(), "services": {"a": {"image": "b", "read_onli": True}}}
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(wrong))


def test_docker_compose_itself_takes_the_file() -> None:
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("`docker compose` is not on this machine: its `config` was not run")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMLAKE_", "DEPLOY_"))}
    done = subprocess.run(
        [docker, "compose", "--env-file", os.devnull, "--profile", "*", "config", "--format", "json"],
        cwd=ROOT,
        env={**environment, "DOCKER_GID": "998"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    # it reads what these tests read
    assert set(read["services"]) == set(SERVICES)
    for name, service in SERVICES.items():
        assert (read["services"][name].get("environment") or {}) == service.get("environment", {}), name
        assert read["services"][name]["user"] == service["user"]
    assert read["volumes"]["run-secrets"]["driver_opts"]["device"] == str(ROOT / "deploy/secrets/run")


def test_what_the_issue_names_is_there() -> None:
    images = {name: service["image"].partition(":")[0] for name, service in SERVICES.items()}
    official = {"apache/kafka", "mysql", "mongo", "apache/nifi", "elasticsearch", "postgres"}
    assert official <= set(images.values())
    assert {"consumer", "scorer", "panel", "dagster-code", "dagster-webserver", "dagster-view", "dagster-daemon"} <= {
        name for name, service in SERVICES.items() if is_own(service)
    }


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.]+)?", SERVICES[name]["image"])


def test_versions_are_those_that_the_tests_run_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {service["image"] for service in SERVICES.values() if is_own(service)} == {
        f"streamlake:{project['version']}"
    }
    recipes = ROOT / "streamlake_assets/servers/recipes"
    kafka = re.search(r"<kafka.version>(.*)</kafka.version>", (recipes / "kafka.pom.xml").read_text())
    nifi = re.search(r"<version>(.*)</version>", (recipes / "nifi.pom.xml").read_text())
    assert kafka and SERVICES["kafka"]["image"] == f"apache/kafka:{kafka[1]}"
    assert nifi and SERVICES["nifi"]["image"] == f"apache/nifi:{nifi[1]}"
    assert SERVICES["mysql"]["image"].startswith("mysql:9.")


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_the_least_rights(name: str) -> None:
    service = SERVICES[name]
    user, _, group = str(service["user"]).partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service) & FORBIDDEN == set()
    assert "/tmp" in {place.partition(":")[0] for place in service["tmpfs"]}  # noqa: S108


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_limits(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["pids_limit"] > 0
    assert all("size=" in place for place in service["tmpfs"])
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert seconds(service["stop_grace_period"]) >= 10 if "stop_grace_period" in service else name == "proxy"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - ONE_SHOT))
def test_what_runs_for_long_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    check = service["healthcheck"]
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    assert service["restart"] == "unless-stopped"


def test_nothing_waits_for_what_is_never_ready() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            ends = other in ONE_SHOT
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (name, other)
            assert "profiles" not in SERVICES[other]
            assert ends or "healthcheck" in SERVICES[other]


def test_only_the_proxy_is_reached_from_outside_and_only_from_this_machine() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    ports = SERVICES["proxy"]["ports"]
    assert [port.rpartition(":")[0].partition(":")[0] for port in ports] == ["127.0.0.1"] * 3
    fields = Settings.model_fields
    assert ports[0] == f"127.0.0.1:{fields['dagster_port'].default}:8080"
    assert ports[2] == f"127.0.0.1:{fields['panel_port'].default}:8082"


def test_networks() -> None:
    networks = compose()["networks"]
    assert networks["back"] == {"name": "streamlake-back", "internal": True}
    assert launcher_config()["networks"] == [networks["back"]["name"]]
    members = {net: {name for name, service in SERVICES.items() if net in service["networks"]} for net in networks}
    assert members == {"back": set(SERVICES), "out": set(OUTSIDE), "front": {"proxy"}}


def test_the_engine_s_socket_is_only_where_runs_are_started() -> None:
    holders = [name for name, service in SERVICES.items() if any("docker.sock" in str(v) for v in service.values())]
    assert holders == ["dagster-daemon"]
    assert SERVICES["dagster-daemon"]["group_add"] == ["998"]
    with pytest.raises(KeyError, match="DOCKER_GID"):
        interpolated(raw_compose(), {})


@pytest.mark.parametrize("name", SERVICES)
def test_of_this_machine_s_files_a_container_sees_what_it_needs_and_only_to_read(name: str) -> None:
    for source, target, mode in binds_of(SERVICES[name]):
        if source.startswith("."):
            assert mode == "ro", target
            # secrets are made, and never in the repository
            assert source.startswith("./deploy/secrets/") or (ROOT / source).exists()
        elif source.startswith("/"):
            assert (name, target) == ("dagster-daemon", "/var/run/docker.sock")
        else:
            assert source in compose()["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_environment_holds_a_secret(name: str) -> None:
    given = SERVICES[name].get("environment", {})
    named = {key for key in given if CREDENTIAL.search(key) and not key.endswith("_FILE")}
    assert named <= set(HARMLESS)
    assert [value for value in given.values() if URL_WITH_PASSWORD.search(str(value))] == []
    secret = {
        f"STREAMLAKE_{key.upper()}" for key, field in Settings.model_fields.items() if field.annotation is SecretStr
    }
    assert set(given) & secret == set()
    files = {value.removeprefix("/run/secrets/") for key, value in given.items() if key.endswith("_FILE")}
    assert files <= set(secrets_of(SERVICES[name]))


def test_secrets_are_declared_used_and_settings() -> None:
    used = {source for service in SERVICES.values() for source in secrets_of(service).values()}
    assert used == set(compose()["secrets"])
    for service in SERVICES.values():
        for target in secrets_of(service):
            if target.startswith("streamlake_"):
                assert Settings.model_fields[target.removeprefix("streamlake_")].annotation is SecretStr


def test_each_process_gets_the_least_of_the_secrets() -> None:
    own = {name: secrets_of(service) for name, service in SERVICES.items() if is_own(service)}
    postgres = {"dagster_postgres_password": "dagster_postgres_password"}
    assert own["consumer"] == {"streamlake_mysql_url": "mysql_writer_url"}
    assert own["alerts"] == own["consumer"]
    assert own["scorer"] == {"streamlake_mysql_url": "mysql_writer_url", "streamlake_mongo_url": "mongo_url"}
    login = {f"streamlake_{name}": name for name in ("panel_password", "panel_oauth_key", "panel_oauth_secret")}
    assert own["panel"] == {
        "streamlake_mysql_url": "mysql_reader_url",
        "streamlake_mysql_actions_url": "mysql_actions_url",
        "streamlake_mongo_url": "mongo_reader_url",
        **login,
    }
    assert own["dagster-webserver"] == own["dagster-view"] == own["dagster-daemon"] == postgres
    assert {name for name, found in own.items() if "mysql_migrate_url" in found.values()} == {"migrate", "tools"}
    runs = {Path(secret["file"]).name for secret in compose()["secrets"].values() if "/run/" in secret["file"]}
    assert runs == set(own["dagster-code"]), "the code server sees what a run sees"


def test_every_setting_in_the_file_exists_and_every_setting_reaches_a_container() -> None:
    known = {f"STREAMLAKE_{name.upper()}": field for name, field in Settings.model_fields.items()}
    text = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"\bSTREAMLAKE_[A-Z0-9_]+\b", text))
    assert named <= set(known)
    targets = {
        f"STREAMLAKE_{key.removeprefix('streamlake_').upper()}" for s in SERVICES.values() for key in secrets_of(s)
    }
    missing = set(known) - named - targets - {f"STREAMLAKE_{name.upper()}" for name in LOCAL_ONLY}
    # a user of MySQL has a URL of its own only where a process uses two of them
    assert missing == set()


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if is_own(service)])
def test_settings_have_the_defaults_of_local_mode(name: str) -> None:
    given = SERVICES[name]["environment"]
    for key, field in Settings.model_fields.items():
        value = given.get(f"STREAMLAKE_{key.upper()}")
        if value is not None and key not in FROM_THE_FILE:
            assert value == str(field.default), key
    assert given["STREAMLAKE_SECRETS_DIR"] == "/run/secrets"


def test_a_run_gets_the_settings_that_every_container_gets() -> None:
    names = launcher_config()["env_vars"]
    assert [name for name in names if "=" in name] == [], "names only: values would be in the launcher's file"
    assert set(names) == set(SERVICES["dagster-daemon"]["environment"])
    assert set(names) <= set(SERVICES["dagster-code"]["environment"])


def test_a_stop_of_the_consumer_waits_longer_than_its_drain() -> None:
    assert seconds(SERVICES["consumer"]["stop_grace_period"]) > FINISH_S + ANSWER_TIMEOUT_S


def test_the_page_is_served_as_in_local_mode() -> None:
    command = SERVICES["panel"]["command"]
    local = serve_argv(Settings.model_fields["panel_port"].default)
    differ = {"--address", "--port"}
    for flag, value in pairwise(local):
        if flag.startswith("--") and flag not in differ:
            assert (flag, value) in pairwise(command), flag
    assert command[:4] == ["python", *local[1:3], Path(local[3]).relative_to(ROOT).as_posix()]
    assert ENVIRONMENT.items() <= SERVICES["panel"]["environment"].items()
    assert SERVICES["panel"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:5006{LIVENESS}"


def test_viewers_get_a_webserver_that_refuses_changes_itself() -> None:
    full, view = SERVICES["dagster-webserver"]["command"], SERVICES["dagster-view"]["command"]
    assert set(view) - set(full) == {"--read-only"}
    assert set(full) <= set(view)
    differ = {
        key for key in SERVICES["dagster-view"] if SERVICES["dagster-view"][key] != SERVICES["dagster-webserver"][key]
    }
    assert differ == {"command"}
