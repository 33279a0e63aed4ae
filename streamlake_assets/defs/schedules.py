"""The schedules of the daily job, and what its runs say of the refreshes done. No asset lives here.

Both ask the same rule (``market.refresh_plan``). The first looks every hour, because sessions are due at different
times: half days, summer time, crypto at night, bars that come late. After downtime Dagster evaluates the newest tick
missed, once: the rule covers all that was missed in between. What was refreshed is read from the runs themselves.
"""

import datetime as dt
from typing import Final

import dagster as dg

from streamlake_assets.defs.jobs import daily
from streamlake_assets.flows.daily_refresh import plan_daily_refresh
from streamlake_assets.market.refresh_plan import RefreshRun, RunState
from streamlake_assets.resources import StoreAccess

REFRESH_TAG: Final = "streamlake/refresh"
"""Tag of a run: the sessions its refresh is for."""
REASON_TAG: Final = "streamlake/covers"
MOST_RUNS: Final = 50
"""Runs of the daily job that are looked at: weeks of them."""
_STATES: Final = {
    dg.DagsterRunStatus.SUCCESS: RunState.DONE,
    dg.DagsterRunStatus.FAILURE: RunState.FAILED,
    dg.DagsterRunStatus.CANCELED: RunState.CANCELLED,
}


@dg.schedule(
    job=daily,
    cron_schedule="30 * * * *",
    execution_timezone="America/New_York",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Once for each session of each market, when it has settled: stocks in New York time, crypto every day.",
)
def daily_refresh(
    context: dg.ScheduleEvaluationContext, stores: dg.ResourceParam[StoreAccess]
) -> dg.RunRequest | dg.SkipReason:
    """Ask for the refresh that is due, or say what it waits for."""
    return _answer(context.instance, stores, early=False)


@dg.schedule(
    job=daily,
    cron_schedule="30 15 * * *",
    execution_timezone="Africa/Casablanca",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Takes what is new at 15:30 in Casablanca, settled sessions before they are due too, and what failed.",
)
def afternoon_refresh(
    context: dg.ScheduleEvaluationContext, stores: dg.ResourceParam[StoreAccess]
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a refresh of whatever is new."""
    if not stores.settings.afternoon_refresh:
        return dg.SkipReason("STREAMLAKE_AFTERNOON_REFRESH is false")
    return _answer(context.instance, stores, early=True)


def _answer(instance: dg.DagsterInstance, stores: StoreAccess, *, early: bool) -> dg.RunRequest | dg.SkipReason:
    if not stores.settings.scheduled_refresh:
        return dg.SkipReason("STREAMLAKE_SCHEDULED_REFRESH is false")
    plan = plan_daily_refresh(stores.reader, stores.settings, refresh_runs(instance), stores.now(), early=early)
    if plan.run_key is None:
        return dg.SkipReason(plan.reason)
    return dg.RunRequest(run_key=plan.run_key, tags={REFRESH_TAG: plan.name, REASON_TAG: plan.reason})


def refresh_runs(instance: dg.DagsterInstance) -> list[RefreshRun]:
    """Return the newest runs of the daily job, the newest first."""
    records = instance.get_run_records(dg.RunsFilter(job_name=daily.name), limit=MOST_RUNS)
    return [
        RefreshRun(
            name=record.dagster_run.tags.get(REFRESH_TAG, ""),
            state=_STATES.get(record.dagster_run.status, RunState.RUNNING),
            ended=None if record.end_time is None else dt.datetime.fromtimestamp(record.end_time, dt.UTC),
        )
        for record in records
    ]
