"""Jobs and sensors: when the assets are made. No asset lives here.

Only the schedules (``schedules``) retrain. The refresh sensor keeps documents and forecasts up with the stream: one run
at a time, a minute apart. The watermark sensor reports the raw tables, which the consumer writes, as materialised.
"""

import json
from collections.abc import Iterator, Sequence

import dagster as dg

from streamlake_assets.defs import benchmark, claims, documents, features, forecasts, models, raw, value
from streamlake_assets.defs.common import plain_metadata
from streamlake_assets.flows import observations
from streamlake_assets.flows.observations import Watermark
from streamlake_assets.resources import StoreAccess
from streamlake_assets.stores import model_register

DOCUMENTS = dg.AssetSelection.assets(documents.documents)
# the skill report too: of a daily run of which an engine failed it says what is missing
SERVING = dg.AssetSelection.assets(
    models.champion, models.skill, forecasts.next_session, forecasts.scores, forecasts.daily
)
LEARNING = dg.AssetSelection.assets(features.training_set, *models.ENGINES)
WATCHED = dg.AssetSelection.checks_for_assets(
    "stream/finance_data", "stream/corporate_actions", "stream/consumer", "services/scorer", "services/alerts"
)
RAW = (raw.bars, raw.instruments, raw.corporate_actions, raw.dead_letters)
RAW_CHECKS = dg.AssetSelection.checks_for_assets(*(spec.key for spec in RAW))
REFRESH_INTERVAL_S = 60
"""Least seconds between two refreshes. No setting: it is read at import, where the environment is not."""
RETRY_AFTER_S = 600
"""Seconds until a failed refresh is asked for again when no message has come since."""
MAX_RUNTIME = {"dagster/max_runtime": "1800"}
"""Seconds until run monitoring ends a run that goes on for ever."""

_IN_PROGRESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)
_FOLLOWING = DOCUMENTS | WATCHED | RAW_CHECKS
refresh_documents = dg.define_asset_job(
    "refresh_documents",
    selection=_FOLLOWING,
    tags=MAX_RUNTIME,
    description="Documents and the checks of what is stored: what follows the stream before anything was trained.",
)
refresh = dg.define_asset_job(
    "refresh",
    selection=_FOLLOWING | SERVING,
    tags=MAX_RUNTIME,
    description="Documents, champions, skill, forecasts, scores, signals: what follows the stream, without training.",
)
daily = dg.define_asset_job(
    "daily",
    selection=_FOLLOWING | LEARNING | SERVING,
    tags=MAX_RUNTIME,
    description="Everything, models included: the daily refresh.",
)
reports = dg.define_asset_job(
    "reports",
    selection=dg.AssetSelection.assets(benchmark.benchmark, claims.claims_audit, value.value),
    tags={"dagster/max_runtime": "3600"},
    description="The training benchmark, the claims audit and what forecasts are worth: on demand, minutes.",
)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports the raw tables as materialised, with the offset ranges that came since.",
)
def raw_watermark(
    context: dg.SensorEvaluationContext, stores: dg.ResourceParam[StoreAccess]
) -> dg.SensorResult | dg.SkipReason:
    """Compare the stored offsets with those reported last."""
    before = json.loads(context.cursor) if context.cursor else {}
    mark = observations.read_watermark(stores.reader)
    events = list(raw_materializations(before, mark))
    if not events:
        return dg.SkipReason("no new messages are stored")
    return dg.SensorResult(asset_events=events, cursor=json.dumps(mark.next_offsets))


@dg.sensor(
    jobs=[refresh, refresh_documents],
    minimum_interval_seconds=REFRESH_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Asks for a refresh when messages were stored since the last one and none is in progress.",
)
def refresh_needed(
    context: dg.SensorEvaluationContext, stores: dg.ResourceParam[StoreAccess]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for at most one run at a time."""
    if any(_last_run(context.instance, job.name, _IN_PROGRESS) for job in (refresh, refresh_documents)):
        return dg.SkipReason("a refresh is in progress")
    offsets = observations.read_offsets(stores.reader)
    if not offsets:
        return dg.SkipReason("no message is stored yet")
    # until something was trained the documents can follow the stream, forecasts wait for the schedule
    job = refresh if model_register.champions(stores.reader) else refresh_documents
    # a daily run of which an engine failed stops before its forecasts: they are made here, by the models there are
    key = json.dumps({**offsets, **_failed_training(context.instance)}, sort_keys=True)
    if key == context.cursor:
        last = _last_run(context.instance, job.name)
        if last is None or last.dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            return dg.SkipReason("no new messages are stored")
        waited = stores.now().timestamp() - (last.end_time or 0.0)
        if waited < RETRY_AFTER_S:
            return dg.SkipReason(f"the last refresh failed: it is asked for again in {RETRY_AFTER_S - waited:.0f} s")
    return dg.SensorResult(run_requests=[dg.RunRequest(job_name=job.name)], cursor=key)


def _failed_training(instance: dg.DagsterInstance) -> dict[str, str]:
    record = _last_run(instance, daily.name)
    failed = record is not None and record.dagster_run.status is dg.DagsterRunStatus.FAILURE
    return {"failed_daily_run": record.dagster_run.run_id} if record is not None and failed else {}


def _last_run(
    instance: dg.DagsterInstance, job: str, statuses: Sequence[dg.DagsterRunStatus] = ()
) -> dg.RunRecord | None:
    wanted = dg.RunsFilter(job_name=job, statuses=statuses or None)
    return next(iter(instance.get_run_records(wanted, limit=1)), None)


def raw_materializations(before: dict[str, int], mark: Watermark) -> Iterator[dg.AssetMaterialization]:
    """Yield one materialisation for each raw table when offsets moved since ``before``."""
    ranges = observations.offset_ranges(before, mark.next_offsets)
    if not ranges:
        return
    for spec in RAW:
        yield dg.AssetMaterialization(
            asset_key=spec.key,
            metadata=plain_metadata(
                {
                    "dagster/row_count": mark.rows[spec.key.path[-1]],
                    "offset_ranges": ranges,
                    "market_session": str(mark.market_session),
                }
            ),
        )
