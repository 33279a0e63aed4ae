"""The deployed dagster.yaml's run launcher against a fake engine: what it asks for, and that no secret is in it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._config import process_config
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.storage.tags import DOCKER_IMAGE_TAG
from dagster_docker import DockerRunLauncher
from dagster_postgres.storage import DagsterPostgresStorage
from dagster_postgres.utils import pg_url_from_config

from streamlake_assets_tests.deployment import ROOT, compose, dagster_yaml, launcher_config, services
from streamlake_assets_tests.fake_engine import FakeEngine

CANARY = "canary-5d1f0a"
SECRETS = {
    "streamlake_mysql_url": f"mysql+pymysql://streamlake_writer:{CANARY}-writer@mysql/streamlake",
    "streamlake_mysql_reader_url": f"mysql+pymysql://streamlake_reader:{CANARY}-reader@mysql/streamlake",
    "streamlake_mongo_url": f"mongodb://streamlake:{CANARY}-mongo@mongo/streamlake",
    "dagster_postgres_password": f"{CANARY}-postgres",
}
IMAGE = services()["dagster-code"]["environment"]["DAGSTER_CURRENT_IMAGE"]
CONFIG = ROOT / "deploy/dagster"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of this module, with the files that a run's container has as ``/run/secrets``."""
    found = tmp_path_factory.mktemp("deployment")
    (found / "secrets").mkdir()
    for name, value in SECRETS.items():
        (found / "secrets" / name).write_text(value)
    return found


@pytest.fixture(scope="module")
def instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    """The deployed instance, with the daemon's environment; only what it stores lies here instead of in Postgres."""
    store = folder / "store"
    overrides = {
        "storage": {"sqlite": {"base_dir": str(store)}},
        **{
            part: {**dagster_yaml()[part], "config": {"base_dir": str(store / part)}}
            for part in ("local_artifact_storage", "compute_logs")
        },
    }
    reference = InstanceRef.from_dir(str(folder), config_dir=str(CONFIG), overrides=overrides)
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.from_ref(reference) as found:
        for name, value in services()["dagster-daemon"]["environment"].items():
            patch.setenv(name, value)
        patch.setenv("DAGSTER_POSTGRES_PASSWORD", SECRETS["dagster_postgres_password"])
        yield found


def new_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run of the tiny job, from a code server whose image is the deployment's."""
    module = ReconstructableRepository.for_module(
        "streamlake_assets_tests.deployment_job", "deployed", container_image=IMAGE
    )
    job = ReconstructableJob(repository=module, job_name="tell_settings")
    return instance.create_run_for_job(
        job_def=job.get_definition(), job_code_origin=job.get_python_origin(), tags={"team": "data"}
    )


def launch(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    instance.run_launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def test_the_instance_is_what_dagster_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_PASSWORD", CANARY)
    reference = InstanceRef.from_dir(str(CONFIG))
    assert reference.custom_instance_class_data is None
    given = dagster_yaml()["storage"]["postgres"]
    checked = process_config(DagsterPostgresStorage.config_type(), given)
    assert checked.success, checked.errors
    assert checked.value["postgres_db"]["password"] == CANARY
    # without the driver's name SQLAlchemy 2.1 takes psycopg 3, which is not installed
    assert sa.create_engine(pg_url_from_config(checked.value)).driver == "psycopg2"
    # a reference travels in the command line of every run: it holds the variable's name
    assert CANARY not in json.dumps(reference.to_dict())
    server = services()["dagster-db"]
    assert given["postgres_db"]["hostname"] in services()
    assert given["postgres_db"]["username"] == server["environment"]["POSTGRES_USER"]
    assert given["postgres_db"]["db_name"] == server["environment"]["POSTGRES_DB"]


def test_the_request_for_a_run(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(instance.run_launcher, DockerRunLauncher)
    with FakeEngine({}) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        run = new_run(instance)
        launch(instance, run)
        (asked,) = engine.created
        assert [line for line in engine.asked if line.startswith("POST")] == [
            "POST /v1.47/containers/create",
            "POST /v1.47/containers/c1/start",
        ]
    host: dict[str, Any] = asked["HostConfig"]
    assert asked["Image"] == IMAGE
    assert asked["User"] == services()["dagster-code"]["user"]
    assert asked["Cmd"][:3] == ["dagster", "api", "execute_run"]
    assert asked["Labels"] == {"streamlake": "run", "dagster/run_id": run.run_id, "dagster/job_name": "tell_settings"}
    names = {pair.partition("=")[0] for pair in asked["Env"]}
    assert names == {*launcher_config()["env_vars"], "DAGSTER_RUN_JOB_NAME"}
    assert host["AutoRemove"] is True
    assert host["Init"] is True
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] == 6 * 2**30
    assert host["PidsLimit"] == 1024
    assert host["NetworkMode"] == compose()["networks"]["back"]["name"]
    volumes = {volume["name"] for volume in compose()["volumes"].values() if volume}
    assert set(host["Binds"]) == {"streamlake-data:/var/lib/streamlake:rw", "streamlake-run-secrets:/run/secrets:ro"}
    assert {bind.partition(":")[0] for bind in host["Binds"]} == volumes
    assert set(host["Tmpfs"]) == {"/tmp"}  # noqa: S108
    assert host.get("Privileged", False) is False
    assert "docker.sock" not in json.dumps(asked)
    assert CANARY not in json.dumps(asked)
    assert instance.get_run_by_id(run.run_id).tags[DOCKER_IMAGE_TAG] == IMAGE  # type: ignore[union-attr]


def test_a_run_reads_its_secrets_from_files_and_shows_none(
    instance: dg.DagsterInstance, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(CONFIG.rglob("*"))
    mounts = {"/run/secrets": folder / "secrets", "/var/lib/streamlake": folder / "data", "/tmp": folder}  # noqa: S108
    with FakeEngine(mounts) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        run = new_run(instance)
        launch(instance, run)
        engine.run_newest()
    assert engine.exit_code == 0, engine.output
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    logs = [record.event_log_entry.to_json() for record in instance.get_records_for_run(run.run_id, limit=500).records]
    assert ended.status is dg.DagsterRunStatus.SUCCESS, "\n".join(logs)
    told = "\n".join(logs)
    # it had them
    for name, secret in (
        ("mysql_url", "streamlake_mysql_url"),
        ("mysql_reader_url", "streamlake_mysql_reader_url"),
        ("mongo_url", "streamlake_mongo_url"),
        ("postgres", "dagster_postgres_password"),
    ):
        assert f"{name} {hashlib.sha256(SECRETS[secret].encode()).hexdigest()}" in told
    # and they are nowhere
    assert "mysql_url=SecretStr" in told
    places = {
        "request": json.dumps(engine.created),
        "events": told,
        "output": engine.output,
        "run": json.dumps([ended.run_config, ended.tags]),
        "instance page": instance.info_str(),
        "stored": "".join(p.read_bytes().decode("latin-1") for p in (folder / "store").rglob("*") if p.is_file()),
    }
    assert [place for place, text in places.items() if CANARY in text] == []
    assert sorted(CONFIG.rglob("*")) == before, "the instance's folder is read-only in a container"


def test_a_run_is_ended_with_time_to_end(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEngine({}) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        run = new_run(instance)
        launch(instance, run)
        assert instance.run_launcher.terminate(run.run_id)
        assert engine.stopped == [{"t": [str(launcher_config()["container_kwargs"]["stop_timeout"])]}]


def test_a_run_whose_container_is_gone_is_found(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeEngine({}) as engine:
        monkeypatch.setenv("DOCKER_HOST", engine.address)
        run = new_run(instance)
        launch(instance, run)
        seen = instance.get_run_by_id(run.run_id)
        assert seen is not None
        assert instance.run_launcher.check_run_worker_health(seen).status is WorkerStatus.RUNNING
        engine.gone = True
        assert instance.run_launcher.check_run_worker_health(seen).status is WorkerStatus.NOT_FOUND
    assert instance.run_monitoring_enabled
