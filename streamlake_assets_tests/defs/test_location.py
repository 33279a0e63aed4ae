"""The code location as a whole: loads anywhere, and every asset says who owns it, what it is and how it is checked.

``location.txt`` is the readable snapshot. When a change is meant, its new text is in the failing test's message.
"""

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from streamlake_assets.commands.check_table import check_table
from streamlake_assets.definitions import defs

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("location.txt")
LOAD_WITH_NOTHING = """
import sys

def refuse(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.mkdir", "os.rename", "os.remove"}:
        raise RuntimeError(f"{event} {arguments} while loading")

sys.addaudithook(refuse)
from streamlake_assets.definitions import defs
from streamlake_assets.commands.check_table import check_table
graph = defs().resolve_asset_graph()
sys.stdout.write(str(len(graph.get_all_asset_keys())))
"""


@pytest.fixture(scope="module")
def location() -> dg.Definitions:
    return defs()


@pytest.fixture(scope="module")
def specs(location: dg.Definitions) -> list[dg.AssetSpec]:
    return sorted(location.resolve_all_asset_specs(), key=lambda spec: spec.key)


def described(location: dg.Definitions, specs: list[dg.AssetSpec]) -> str:
    """Return what users see of the location, one line for each thing, in an order that does not depend on files."""
    graph = location.resolve_asset_graph()
    checks = sorted(graph.asset_check_keys)
    lines = []
    for spec in specs:
        lines += [
            f"asset {spec.key.to_user_string()}",
            f"  group {spec.group_name}; kinds {', '.join(sorted(spec.kinds))}; owners {', '.join(spec.owners)}",
            f"  from {', '.join(sorted(dep.asset_key.to_user_string() for dep in spec.deps)) or 'outside'}",
        ]
        for key in checks:
            if key.asset_key == spec.key:
                lines.append(f"  check {key.name}{' (blocking)' if graph.get(key).blocking else ''}")
    lines += [f"job {name}" for name in sorted(job.name for job in location.jobs or [])]
    lines += [f"sensor {name}" for name in sorted(sensor.name for sensor in location.sensors or [])]
    lines += [f"schedule {name}" for name in sorted(schedule.name for schedule in location.schedules or [])]
    return "\n".join(lines) + "\n"


def test_the_location_loads_with_an_empty_environment_and_touches_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-c", LOAD_WITH_NOTHING],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 28
    assert list(tmp_path.iterdir()) == []


def test_assets_groups_owners_and_checks_are_those_of_the_snapshot(
    location: dg.Definitions, specs: list[dg.AssetSpec]
) -> None:
    found = described(location, specs)
    assert found == SNAPSHOT.read_text(), f"when the change is meant, {SNAPSHOT.name} becomes:\n{found}"


def test_the_table_of_checks_is_made_of_the_checks(location: dg.Definitions) -> None:
    table = check_table(location)
    command = "python -m streamlake_assets.commands.check_table > docs/checks.md"
    assert table == (ROOT / "docs" / "checks.md").read_text(), f"when the change is meant: {command}"


def test_every_asset_has_owner_description_kinds_and_a_check_or_says_why_not(
    location: dg.Definitions, specs: list[dg.AssetSpec]
) -> None:
    checked = {key.asset_key for key in location.resolve_asset_graph().asset_check_keys}
    for spec in specs:
        name = spec.key.to_user_string()
        assert spec.owners, name
        assert spec.kinds, name
        assert spec.description, name
        assert spec.description.endswith("."), f"{name}: a description is a sentence"
        assert spec.group_name == spec.key.path[0], name
        assert (spec.key in checked) != bool(spec.metadata.get("checks")), f"{name}: either a check or a reason"


def test_lineage_goes_from_the_flow_to_the_pages(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()

    def above(key: dg.AssetKey) -> set[dg.AssetKey]:
        parents = graph.get(key).parent_keys
        return set(parents).union(*map(above, parents))

    flow = dg.AssetKey(["stream", "nifi_flow"])
    for page in ("dashboard", "power_bi"):
        found = above(dg.AssetKey(["pages", page]))
        assert {
            flow,
            *(dg.AssetKey(key) for key in (["stream", "consumer"], ["raw", "bars"], ["forecasts", "scores"])),
        } <= found


def test_every_asset_has_a_freshness_policy_or_says_why_not(specs: list[dg.AssetSpec]) -> None:
    for spec in specs:
        has_policy = spec.freshness_policy is not None
        reason = spec.metadata.get("freshness", "")
        assert has_policy != bool(reason), f"{spec.key.to_user_string()}: either a policy or a reason"


def test_assets_that_are_tables_show_name_and_columns(specs: list[dg.AssetSpec]) -> None:
    for spec in specs:
        if "mysql" in spec.kinds:
            assert spec.metadata["dagster/table_name"].startswith("streamlake."), spec.key
            assert len(spec.metadata["dagster/column_schema"].columns) > 1, spec.key


def test_sensors_and_schedules_run_by_default(location: dg.Definitions) -> None:
    sensors = {sensor.name: sensor for sensor in location.sensors or []}
    assert {sensor.default_status for sensor in sensors.values()} == {dg.DefaultSensorStatus.RUNNING}
    assert sensors["refresh_needed"].minimum_interval_seconds == 60
    schedules = {schedule.name: schedule for schedule in location.schedules or []}
    ticks = {}
    for name, schedule in schedules.items():
        assert isinstance(schedule, dg.ScheduleDefinition)
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.job_name == "daily"
        ticks[name] = (schedule.cron_schedule, schedule.execution_timezone)
    assert ticks == {
        "daily_refresh": ("30 * * * *", "America/New_York"),
        "afternoon_refresh": ("30 15 * * *", "Africa/Casablanca"),
    }


def test_only_the_schedules_job_retrains_and_both_jobs_have_a_longest_runtime(location: dg.Definitions) -> None:
    refresh, daily = (location.resolve_job_def(name) for name in ("refresh", "daily"))
    keys = {job.name: job.asset_layer.executable_asset_keys for job in (refresh, daily)}
    made = {name: {key.to_user_string() for key in found} for name, found in keys.items()}
    learning = {"features/training_set", "models/sklearn", "models/dask", "models/spark"}
    assert made["daily"] - made["refresh"] == learning
    assert made["refresh"] < made["daily"]
    assert all(int(job.tags["dagster/max_runtime"]) > 0 for job in (refresh, daily))


def test_the_project_passes_dagster_s_own_check(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "check", "defs"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "VIRTUAL_ENV": sys.prefix},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr
