"""A Spark that cannot start says why, in time, and leaves nothing running; real Java runs in ``test_spark_engine``."""

import tempfile
from pathlib import Path

import pytest

from streamlake_assets.errors import ServerError, UsageError
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.spark_engine import SparkEngine
from streamlake_assets.learning.spark_session import configuration
from streamlake_assets.learning.spec import linear_spec
from streamlake_assets_tests.engine_contract import RANGE, descendants, made_frame, rows_of

LINEAR = linear_spec(RANGE, "spark")


def test_a_missing_jdk_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'/nowhere', no bin/java there"):
        SparkEngine(Resources(java_home="/nowhere")).fit(LINEAR, *rows_of(made_frame(), LINEAR))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UsageError, match="JAVA_HOME is 'not set'"):
        SparkEngine().open()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Unsupported class file version' >&2; exit 1", "did not start: Unsupported class file version"),
        ("exit 0", "did not start"),
        ("sleep 60", "did not start within"),
    ],
)
def test_a_java_that_does_not_start_spark_is_said_in_time(
    script: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(descendants())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    engine = SparkEngine(Resources(java_home=str(tmp_path), start_timeout_s=1.0 if "within" in reason else 60.0))
    with pytest.raises(ServerError, match=reason):
        engine.open()
    assert engine.spark.pid is None
    assert set(descendants()) <= before
    assert not list((tmp_path / "temporary").iterdir())


def test_the_session_is_local_unless_a_cluster_is_named(tmp_path: Path) -> None:
    here = configuration(Resources(cores=3, jvm_memory_mb=700), tmp_path)
    assert (here["spark.master"], here["spark.driver.memory"]) == ("local[3]", "700m")
    assert here["spark.driver.bindAddress"] == here["spark.driver.host"] == "127.0.0.1"
    assert here["spark.ui.enabled"] == "false"
    there = configuration(Resources(spark_master="spark://host:7077"), tmp_path)
    assert there["spark.master"] == "spark://host:7077"
    # executors elsewhere must reach the driver
    assert "spark.driver.bindAddress" not in there
