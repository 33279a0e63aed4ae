"""What Dagster knows becomes alerts: its calls that are not promised to stay, on real instances and a real database."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, NamedTuple

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.tags import WILL_RETRY_TAG
from dagster._utils.error import SerializableErrorInfo

from streamlake_assets.defs.alerts import alert_edges
from streamlake_assets.errors import TryLaterError
from streamlake_assets.settings import Settings
from streamlake_assets.stores import schema
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
KEY = dg.AssetKey("bars")


class Switch:
    """How the assets and checks of the test go."""

    def __init__(self) -> None:
        self.makes = True
        self.passes = True
        self.severity = ERROR
        self.crashes = False
        self.gate_passes = True


def definitions(switch: Switch) -> dg.Definitions:
    @dg.asset(key=KEY)
    def bars() -> None:
        if not switch.makes:
            raise ValueError("the store is away")

    @dg.asset_check(asset=KEY)
    def good() -> dg.AssetCheckResult:
        if switch.crashes:
            raise RuntimeError("a bug in the check")
        wrong = 0 if switch.passes else 3
        return dg.AssetCheckResult(
            passed=switch.passes, severity=switch.severity, description="as it is", metadata={"wrong": wrong}
        )

    @dg.asset_check(asset=KEY, blocking=True)
    def gate() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=switch.gate_passes)

    job = dg.define_asset_job("daily", dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks())
    return dg.Definitions(assets=[bars], asset_checks=[good, gate], jobs=[job], executor=dg.in_process_executor)


class Stores(NamedTuple):
    """What the sensor uses of the stores."""

    writer: Any

    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC)


class Scene:
    """One instance, one code location, one database."""

    def __init__(self, instance: dg.DagsterInstance, database: Database) -> None:
        self.instance, self.database = instance, database
        self.switch = Switch()
        self.location = definitions(self.switch)

    def run(self, tags: dict[str, str] | None = None, **changes: Any) -> bool:
        for name, value in changes.items():
            setattr(self.switch, name, value)
        job = self.location.resolve_job_def("daily")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, tags=tags).success

    def tick(self) -> list[str]:
        """Let the sensor look, and return the alerts that are new since then."""
        before = self.database.count(schema.alert_outbox)
        context = dg.build_sensor_context(
            instance=self.instance,
            repository_def=self.location.get_repository_def(),
            resources={"stores": Stores(self.database.writer)},
        )
        assert isinstance(alert_edges(context), dg.SkipReason)
        return [row.subject for row in self.database.rows(schema.alert_outbox)[before:]]


@pytest.fixture(scope="module")
def migrated(fresh_database: Settings) -> Iterator[Database]:
    found = Database(fresh_database)
    yield found
    found.close()


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Scene(instance, database)


@pytest.fixture
def kept_scene(database: Database) -> Iterator[Scene]:
    """The storage that `streamlake up` has, on disk."""
    with dg.instance_for_test() as instance:
        yield Scene(instance, database)


def test_a_check_is_told_once_for_each_edge_with_what_it_measured(scene: Scene) -> None:
    scene.run()
    assert scene.tick() == []
    scene.run(passes=False)
    assert scene.tick() == ["Failed: bars:good"]
    assert scene.tick() == []
    scene.run()
    assert scene.tick() == [], "it failed again, and that is no edge"
    scene.run(severity=WARN)
    assert scene.tick() == ["Warning (was failed): bars:good"]
    scene.run(passes=True)
    assert scene.tick() == ["Recovered: bars:good"]
    (failed, *_) = scene.database.rows(schema.alert_outbox)
    assert "as it is wrong: 3" in failed.body
    history = [row for row in scene.database.rows(schema.check_history) if row.check_name == "good"]
    assert [row.passed for row in history] == [True, False, False, False, True]
    assert history[1].detail["wrong"] == 3


def test_what_flips_and_flips_back_between_two_looks_is_told_too(scene: Scene) -> None:
    scene.run()
    scene.tick()
    scene.run(passes=False)
    scene.run(passes=True)
    assert scene.tick() == ["Failed: bars:good", "Recovered: bars:good"]


def test_a_blocking_check_that_fails_is_one_alert_and_not_a_failed_run_too(kept_scene: Scene) -> None:
    assert not kept_scene.run(gate_passes=False)
    assert kept_scene.tick() == ["Failed: bars:gate"]
    assert kept_scene.run(gate_passes=True)
    assert kept_scene.tick() == ["Recovered: bars:gate"]


def test_a_check_whose_code_raises_could_not_be_judged_and_is_one_alert(scene: Scene) -> None:
    scene.run()
    scene.tick()
    assert not scene.run(crashes=True)
    assert scene.tick() == ["Could not be judged: bars:good"]
    scene.run(crashes=False)
    assert scene.tick() == ["Recovered: bars:good"]


def test_a_failed_run_is_one_alert_with_its_cause_and_the_checks_it_did_not_reach_are_none(scene: Scene) -> None:
    scene.run(passes=False)
    scene.tick()
    assert not scene.run(makes=False)
    assert scene.tick() == ["Failed: daily"]
    last = scene.database.rows(schema.alert_outbox)[-1]
    assert "bars: ValueError: the store is away" in last.body
    scene.run(makes=True)
    assert scene.tick() == ["Recovered: daily"], "the check is as it was"


def test_a_run_that_is_started_again_is_no_news_and_one_whose_process_died_is(scene: Scene) -> None:
    scene.run()
    scene.tick()
    job = scene.location.resolve_job_def("daily")
    for tags, expected in (({WILL_RETRY_TAG: "true"}, []), ({}, ["Failed: daily"])):
        run = scene.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags=tags)
        assert scene.tick() == [], "it goes on"
        scene.instance.report_run_failed(run, "its process died")
        assert scene.tick() == expected
    assert "its process ended" in scene.database.rows(schema.alert_outbox)[-1].body


def job_named(name: str) -> dg.JobDefinition:
    @dg.op
    def nothing() -> None:
        """Nothing."""

    @dg.job(name=name)
    def made() -> None:
        nothing()

    return made


def test_a_refresh_of_documents_that_failed_is_mended_by_the_refresh_that_takes_its_place(scene: Scene) -> None:
    run = scene.instance.create_run_for_job(job_named("refresh_documents"), status=dg.DagsterRunStatus.STARTED)
    scene.instance.report_run_failed(run, "its process died")
    assert scene.tick() == ["Failed: refresh"]
    assert job_named("refresh").execute_in_process(instance=scene.instance).success
    assert scene.tick() == ["Recovered: refresh"]


def test_of_a_job_that_is_seen_for_the_first_time_only_the_last_run_counts(scene: Scene) -> None:
    scene.run(makes=False)
    scene.run(makes=True)
    assert scene.tick() == []


def test_a_result_that_no_run_made_is_seen_too(kept_scene: Scene) -> None:
    for passed, expected in ((False, ["Failed: bars:good"]), (True, ["Recovered: bars:good"])):
        kept_scene.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=KEY, check_name="good", passed=passed, metadata={})
        )
        assert kept_scene.tick() == expected


def test_an_asset_that_is_stale_is_told_and_that_it_is_fresh_again_too(kept_scene: Scene) -> None:
    at = dt.datetime.now(dt.UTC).timestamp()
    steps = [
        (FreshnessState.UNKNOWN, []),
        (FreshnessState.WARN, ["Warning: bars"]),
        (FreshnessState.FAIL, ["Failed (was warning): bars"]),
        (FreshnessState.PASS, ["Recovered: bars"]),
    ]
    for number, (state, expected) in enumerate(steps):
        change = FreshnessStateChange(
            key=KEY,
            new_state=state,
            previous_state=FreshnessState.UNKNOWN,
            state_change_timestamp=at + number,
        )
        kept_scene.instance.report_runless_asset_event(change)
        assert kept_scene.tick() == expected


def test_a_sensor_whose_ticks_fail_twice_in_a_row_is_told(kept_scene: Scene) -> None:
    place = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("streamlake"), "__repository__")
    state = InstigatorState(
        RemoteInstigatorOrigin(place, "refresh_needed"),
        InstigatorType.SENSOR,
        InstigatorStatus.DECLARED_IN_CODE,
        SensorInstigatorData(),
    )
    kept_scene.instance.add_instigator_state(state)
    outcomes = [TickStatus.SUCCESS, TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.FAILURE, TickStatus.SKIPPED]
    told = []
    for second, outcome in enumerate(outcomes):
        kept_scene.instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=state.instigator_name,
                instigator_type=InstigatorType.SENSOR,
                status=outcome,
                timestamp=1_700_000_000.0 + second,
                run_ids=[],
                error=SerializableErrorInfo("it is away\nand more", [], None)
                if outcome is TickStatus.FAILURE
                else None,
                skip_reason="nothing new" if outcome is TickStatus.SKIPPED else None,
                selector_id=state.selector_id,
            )
        )
        told.append(kept_scene.tick())
    assert "Its ticks fail: it is away" in kept_scene.database.rows(schema.alert_outbox)[0].body
    assert told == [[], [], ["Failed: refresh_needed"], [], ["Recovered: refresh_needed"]]


def test_two_sensors_and_one_that_died_before_it_could_note_how_far_it_was_repeat_nothing(scene: Scene) -> None:
    scene.run(passes=False)
    assert scene.tick() == ["Failed: bars:good"]
    other = Scene(scene.instance, scene.database)
    assert other.tick() == []
    assert scene.database.count(schema.alert_outbox) == 1


def test_what_is_seen_while_the_database_is_away_is_told_by_a_later_tick(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.run(passes=False)
    with monkeypatch.context() as away:
        away.setattr(
            "streamlake_assets.stores.alert_states.record",
            lambda *_: (_ for _ in ()).throw(TryLaterError("away")),
        )
        with pytest.raises(TryLaterError):
            scene.tick()
    assert scene.tick() == ["Failed: bars:good"]
