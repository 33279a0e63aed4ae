"""The asset of the fault drill: it runs a process, keeps its report beside older ones, and is judged by the newest."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from pymongo import MongoClient

from streamlake_assets.definitions import defs
from streamlake_assets.defs import reports
from streamlake_assets.errors import ServerError
from streamlake_assets.flows import drills
from streamlake_assets.resources import StoreAccess
from streamlake_assets.servers.document_store import LocalDocumentStore
from streamlake_assets.settings import DATABASE, Settings
from streamlake_assets.stores.reports import DRILLS, DrillHistory

WRITES_REPORT = """
import pathlib, sys
path = pathlib.Path(sys.argv[sys.argv.index("--json") + 1])
path.write_text(sys.argv[1])
sys.exit(1)
"""


def report(day: int, lost: int = 0) -> dict[str, Any]:
    row = {
        "row": 1,
        "fault": "kill -9",
        "injected": "consumer",
        "sent": 10_000,
        "lost": lost,
        "twice": 0,
        "recovery_s": 8.25,
        "verdict": "FAILED" if lost else "ok",
        "problems": [f"{lost} facts are missing"] if lost else [],
    }
    made_at = f"2026-01-{day:02}T03:04:05+00:00"
    return {"made_at": made_at, "ok": not lost, "servers": ["Kafka 4.3.1", "MariaDB"], "rows": [row]}


def writing(made: dict[str, Any]) -> tuple[str, ...]:
    """A command that takes the drill's options and writes this report."""
    return (sys.executable, "-c", WRITES_REPORT, json.dumps(made))


@pytest.fixture
def access(document_server: LocalDocumentStore, test_settings: Settings) -> Iterator[StoreAccess]:
    made = StoreAccess(test_settings)
    yield made
    client: MongoClient[dict[str, Any]] = MongoClient(test_settings.mongo)
    client[DATABASE][DRILLS].drop()
    client.close()
    made.close()


@pytest.mark.servers
def test_every_drill_is_kept_and_the_newest_is_judged(access: StoreAccess, monkeypatch: pytest.MonkeyPatch) -> None:
    for day, lost in ((1, 0), (2, 3)):
        monkeypatch.setattr(drills, "COMMAND", writing(report(day, lost)))
        with dg.DagsterInstance.ephemeral() as instance:
            done = dg.materialize(
                [reports.chaos_drill, reports.drill_lost_nothing], resources={"stores": access}, instance=instance
            )
        assert done.success
        (judged,) = done.get_asset_check_evaluations()
        assert judged.passed == (lost == 0), judged.description
        metadata = done.asset_materializations_for_node("reports__chaos_drill")[0].metadata
        assert metadata["lost"].value == lost
    history = str(metadata["history"].value).splitlines()
    assert [line[2:18] for line in history[2:]] == ["2026-01-02 03:04", "2026-01-01 03:04"]
    assert history[2].endswith("| 3 | 0 | 8.2 s | FAILED |")
    with DrillHistory(access.settings) as kept:
        kept.add(report(2, 3))
        assert len(kept.newest(10)) == 2, "the same report twice is one"


def test_a_drill_without_a_report_is_an_error_that_says_why() -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('no Java here')")
    with pytest.raises(ServerError, match=r"exit code 1.*no Java here"):
        drills.run_drill([1], command)


def test_a_drill_that_never_ends_is_ended() -> None:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(ServerError, match=r"did not end within 0\.2 s"):
        drills.run_drill([1], command, timeout_s=0.2)


def test_nothing_but_a_hand_runs_a_drill() -> None:
    location = defs()
    for job in location.jobs or []:
        keys = location.resolve_job_def(job.name).asset_layer.executable_asset_keys
        assert reports.chaos_drill.key not in keys
    spec = next(one for one in location.resolve_all_asset_specs() if one.key == reports.chaos_drill.key)
    assert spec.automation_condition is None
