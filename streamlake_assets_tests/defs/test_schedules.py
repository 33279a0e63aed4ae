"""What the schedules answer on an instance with runs of its own: run keys, reasons, retries. No server is needed."""

import datetime as dt
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import dagster as dg
import pytest

from streamlake_assets.definitions import defs
from streamlake_assets.defs.common import check
from streamlake_assets.defs.retries import WAITS_S, tried_again
from streamlake_assets.defs.schedules import REASON_TAG, REFRESH_TAG, afternoon_refresh, daily_refresh, refresh_runs
from streamlake_assets.errors import TryLaterError, UsageError
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.refresh_plan import RefreshRun, RunState
from streamlake_assets.market.types import AssetClass
from streamlake_assets.resources import StoreAccess
from streamlake_assets.settings import Settings
from streamlake_assets.stores import bar_reader

D = dt.date
EASTERN = dt.timezone(dt.timedelta(hours=-5))


class Stores:
    """What the schedules use of the stores: a clock, settings, and what is stored of each market."""

    def __init__(self) -> None:
        self.settings = Settings(_env_file=None)
        self.reader = self
        self.moment = dt.datetime(2025, 11, 25, 19, tzinfo=EASTERN)
        self.stored = {("XNYS", AssetClass.STOCK): D(2025, 11, 25)}

    def now(self) -> dt.datetime:
        return self.moment


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Stores:
    found = Stores()
    monkeypatch.setattr(bar_reader, "snapshot", nullcontext)
    monkeypatch.setattr(
        bar_reader, "market_sessions", lambda of: [(*market, session) for market, session in of.stored.items()]
    )
    return found


@pytest.fixture(scope="module")
def files() -> Iterator[dg.DagsterInstance]:
    """An instance that a schedule's context can open again: with files of its own, in a temporary folder."""
    with dg.instance_for_test() as temporary:
        yield temporary


@pytest.fixture
def instance(files: dg.DagsterInstance) -> dg.DagsterInstance:
    """The instance without runs."""
    for run in files.get_runs():
        files.delete_run(run.run_id)
    return files


@pytest.fixture(scope="module")
def job() -> dg.JobDefinition:
    return defs().resolve_job_def("daily")


def tick(schedule: dg.ScheduleDefinition, stores: Stores, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    """Evaluate a schedule as its daemon does; a reason to skip is returned as its text."""
    with dg.build_schedule_context(
        instance=instance, scheduled_execution_time=stores.moment, resources={"stores": stores}
    ) as context:
        data = schedule.evaluate_tick(context)
    if data.run_requests:
        (request,) = data.run_requests
        return request
    assert data.skip_message
    return data.skip_message


def launch(job: dg.JobDefinition, request: dg.RunRequest | str, instance: dg.DagsterInstance) -> dg.DagsterRun:
    assert isinstance(request, dg.RunRequest)
    return instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)


def test_a_settled_session_is_asked_for_once(
    stores: Stores, instance: dg.DagsterInstance, job: dg.JobDefinition
) -> None:
    first = tick(daily_refresh, stores, instance)
    assert isinstance(first, dg.RunRequest)
    assert first.run_key == first.tags[REFRESH_TAG] == "XNYS 2025-11-25"
    assert first.tags[REASON_TAG] == "XNYS, for the first time, up to 2025-11-25"
    run = launch(job, first, instance)
    assert tick(daily_refresh, stores, instance) == "a daily run is in progress: XNYS 2025-11-25"
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job.name), run_id=run.run_id)
    assert refresh_runs(instance)[0].state is RunState.DONE
    for schedule in (daily_refresh, afternoon_refresh):
        assert "already refreshed to 2025-11-25" in str(tick(schedule, stores, instance))


def test_a_holiday_is_skipped_with_its_name_and_what_comes_next_is_caught_up(
    stores: Stores, instance: dg.DagsterInstance, job: dg.JobDefinition
) -> None:
    instance.create_run_for_job(job, tags={REFRESH_TAG: "XNYS 2025-11-26"}, status=dg.DagsterRunStatus.SUCCESS)
    stores.moment, stores.stored = stores.moment.replace(day=27), {("XNYS", AssetClass.STOCK): D(2025, 11, 26)}
    assert "2025-11-27 is a holiday of XNYS" in str(tick(daily_refresh, stores, instance))
    stores.moment = dt.datetime(2025, 12, 2, 19, tzinfo=EASTERN)
    stores.stored = {("XNYS", AssetClass.STOCK): D(2025, 12, 2)}
    request = tick(daily_refresh, stores, instance)
    assert isinstance(request, dg.RunRequest)
    assert request.tags[REASON_TAG] == "XNYS, catching up 3 sessions: 2025-11-28 to 2025-12-02"


def test_the_look_of_the_afternoon_takes_what_is_not_due_and_can_be_switched_off(
    stores: Stores, instance: dg.DagsterInstance
) -> None:
    stores.moment = dt.datetime(2025, 11, 25, 16, 30, tzinfo=EASTERN)
    assert "has not settled" in str(tick(daily_refresh, stores, instance))
    early = tick(afternoon_refresh, stores, instance)
    assert isinstance(early, dg.RunRequest)
    assert early.run_key == "XNYS 2025-11-25"
    stores.settings = Settings(_env_file=None, afternoon_refresh=False)
    assert tick(afternoon_refresh, stores, instance) == "STREAMLAKE_AFTERNOON_REFRESH is false"


def test_the_settle_delay_is_a_setting(stores: Stores, instance: dg.DagsterInstance) -> None:
    stores.moment = dt.datetime(2025, 11, 25, 16, 30, tzinfo=EASTERN)
    stores.settings = Settings(_env_file=None, settle_delay_minutes=30)
    assert isinstance(tick(daily_refresh, stores, instance), dg.RunRequest)


def test_a_failed_run_is_asked_for_again_after_a_while_under_another_key(
    stores: Stores, instance: dg.DagsterInstance, job: dg.JobDefinition
) -> None:
    stores.moment = dt.datetime.now(dt.UTC)
    run = launch(job, tick(daily_refresh, stores, instance), instance)
    instance.report_run_failed(run, "an engine died")
    assert "failed, and is asked for again from" in str(tick(daily_refresh, stores, instance))
    stores.moment += dt.timedelta(minutes=11)
    again = tick(daily_refresh, stores, instance)
    assert isinstance(again, dg.RunRequest)
    assert (again.run_key, again.tags[REFRESH_TAG]) == ("XNYS 2025-11-25 (try 2)", "XNYS 2025-11-25")


def test_a_run_by_hand_is_waited_for_and_is_no_refresh(
    stores: Stores, instance: dg.DagsterInstance, job: dg.JobDefinition
) -> None:
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert "started by hand" in str(tick(daily_refresh, stores, instance))
    instance.report_run_canceled(run)
    (found,) = refresh_runs(instance)
    assert (found.name, found.state) == ("", RunState.CANCELLED)
    assert isinstance(found, RefreshRun)
    assert isinstance(tick(daily_refresh, stores, instance), dg.RunRequest)


class Outage:
    """A step that fails so many times."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.calls = failures, error, 0

    def meet(self) -> None:
        self.calls += 1
        if self.calls <= self.left:
            raise self.error

    def run(self, generator: bool = False) -> dg.ExecuteInProcessResult:
        @dg.asset
        @tried_again
        def one() -> dg.MaterializeResult[None]:
            self.meet()
            return dg.MaterializeResult(metadata={"calls": self.calls})

        @dg.multi_asset(specs=[dg.AssetSpec("several")])
        @tried_again
        def several() -> Iterator[dg.MaterializeResult[None]]:
            self.meet()
            yield dg.MaterializeResult(asset_key="several", metadata={"calls": self.calls})

        made: list[Any] = [several if generator else one]
        return dg.materialize(made, raise_on_error=False)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlake_assets.defs.retries.WAITS_S", tuple(0.0 for _ in WAITS_S))


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("generator", [False, True])
def test_a_step_that_meets_an_outage_is_tried_again(generator: bool) -> None:
    outage = Outage(len(WAITS_S), TryLaterError("the database is away"))
    assert outage.run(generator).success
    assert outage.calls == len(WAITS_S) + 1


@pytest.mark.usefixtures("no_waiting")
def test_an_outage_that_lasts_fails_the_step_with_its_own_words() -> None:
    outage = Outage(10, TryLaterError("the database is away"))
    result = outage.run()
    assert not result.success
    assert outage.calls == len(WAITS_S) + 1
    error = result.failure_data_for_node("one").error  # type: ignore[union-attr]
    assert error is not None
    assert error.cause is not None
    assert "the database is away" in error.cause.message


class Checked:
    """An asset whose check meets an outage so many times."""

    def __init__(self, failures: int) -> None:
        self.left, self.calls = failures, 0

    def judge(self, _stores: StoreAccess) -> Verdict:
        self.calls += 1
        if self.calls <= self.left:
            raise TryLaterError("the documents are held by another process")
        return Verdict(True, "it is so", {})

    def run(self, **options: Any) -> dg.ExecuteInProcessResult:
        @dg.asset
        def judged() -> None:
            """Nothing."""

        def it_is_so(stores: StoreAccess) -> Verdict:
            return self.judge(stores)

        made = check(dg.AssetKey("judged"), "it is so", limit="none", remedy="none", **options)(it_is_so)
        parts: dict[str, Any] = {"resources": {"stores": Stores()}, "jobs": [dg.define_asset_job("all")]}
        job = dg.Definitions([judged], asset_checks=[made], **parts).resolve_job_def("all")
        return job.execute_in_process(raise_on_error=False)


@pytest.mark.usefixtures("no_waiting")
@pytest.mark.parametrize("blocking", [False, True])
def test_a_check_that_meets_an_outage_is_tried_again(blocking: bool) -> None:
    checked = Checked(len(WAITS_S))
    result = checked.run(blocking=blocking)
    assert result.success and checked.calls == len(WAITS_S) + 1
    assert [one.passed for one in result.get_asset_check_evaluations()] == [True]


@pytest.mark.usefixtures("no_waiting")
def test_a_check_whose_outage_lasts_fails_with_its_own_words() -> None:
    checked = Checked(10)
    result = checked.run()
    assert not result.success and checked.calls == len(WAITS_S) + 1
    failure = result.failure_data_for_node("judged_it_is_so")
    assert failure is not None and "held by another process" in str(failure.error)


def test_an_outage_outside_of_a_run_is_told_as_it_is() -> None:
    with pytest.raises(TryLaterError, match="away"):
        tried_again(Outage(1, TryLaterError("the database is away")).meet)()


def test_no_other_error_is_tried_again() -> None:
    outage = Outage(1, UsageError("a wrong setting"))
    assert not outage.run().success
    assert outage.calls == 1


def test_the_waits_grow() -> None:
    assert sorted(set(WAITS_S)) == list(WAITS_S)
