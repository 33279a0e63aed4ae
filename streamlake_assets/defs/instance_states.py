"""What the Dagster instance knows of checks, runs, freshness and ticks, as observations of alerts; no asset lives here.

Belongs here: every call that Dagster does not promise to keep (``event_log_storage``, ticks, freshness records), so
that one contract test holds them. Stays out: what an observation means for anybody (``market.alerts``, ``flows``).

A check's record is made when a run plans it and filled when it is evaluated. One that stays planned in a run that ended
was not reached, or its own step failed: only then could the check not be judged.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.scheduler.instigation import InstigatorState, InstigatorType, TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.dagster_run import RunRecord
from dagster._core.storage.tags import WILL_RETRY_TAG

from streamlake_assets.market.alerts import Kind, Known, Observation, State, order_of, subject_key

MOST_EVALUATIONS: Final = 25
"""Evaluations of one check that are looked at between two looks."""
MOST_RUNS: Final = 25
SENSOR_FAILURES: Final = 2
"""Failed ticks in a row after which a sensor is not well: its next tick does what one could not. A schedule has one."""
_ENDED: Final = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
_MOST_TEXT: Final = 1_500


def observe(
    instance: dg.DagsterInstance, graph: Any, known: Mapping[str, Known], now: dt.datetime
) -> list[Observation]:
    """Return all that was seen since what is known.

    Args:
        instance: to look at.
        graph: asset graph of the code location.
        known: what was judged before, by subject.
        now: time of this look.
    """
    return [
        *checks(instance, sorted(graph.asset_check_keys), known),
        *runs(instance, known),
        *freshness(instance, sorted(graph.materializable_asset_keys)),
        *ticks(instance, now),
    ]


def checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], known: Mapping[str, Known]
) -> Iterator[Observation]:
    """Yield each evaluation of each check that came since the last one known, a flip and back included."""
    storage = instance.event_log_storage
    ended: dict[str, set[str] | None] = {}
    for key, latest in storage.get_latest_asset_check_execution_by_key(list(keys)).items():
        name = f"{key.asset_key.to_user_string()}:{key.name}"
        before = known.get(subject_key(Kind.CHECK, name), Known()).order
        if latest.id <= before:
            continue
        history = [latest] if before < 0 else storage.get_asset_check_execution_history(key, limit=MOST_EVALUATIONS)
        for record in sorted(history, key=lambda one: one.id):
            if record.id > before:
                evaluated = isinstance(record.evaluation, AssetCheckEvaluation)
                if not evaluated and record.run_id not in ended:
                    ended[record.run_id] = _failed_steps(instance, record.run_id)
                yield from _evaluation(name, record, None if evaluated else ended[record.run_id])


def _evaluation(name: str, record: AssetCheckExecutionRecord, failed: set[str] | None) -> Iterator[Observation]:
    found = record.evaluation
    at = dt.datetime.fromtimestamp(record.event.timestamp if record.event else record.create_timestamp, dt.UTC)
    if isinstance(found, AssetCheckEvaluation):
        bad = State.WARN if found.severity is dg.AssetCheckSeverity.WARN else State.ERROR
        state = State.PASS if found.passed else bad
        facts = {label: _plain(value) for label, value in found.metadata.items()}
        said = ", ".join(f"{label}: {value}" for label, value in facts.items())
        text = f"{found.description or ('It passed.' if found.passed else 'It did not pass.')} {said}"
        yield Observation(Kind.CHECK, name, state, record.id, text.strip()[:_MOST_TEXT], at, facts)
    elif failed is not None:
        step = record.event.step_key if record.event else None
        state = State.CRASHED if step in failed else State.SKIPPED
        yield Observation(Kind.CHECK, name, state, record.id, f"Its code failed in run {record.run_id}.", at)


def _failed_steps(instance: dg.DagsterInstance, run_id: str) -> set[str] | None:
    """Return the failed steps of a run, or None while it goes on."""
    run = instance.get_run_by_id(run_id)
    return set(_failures(instance, run_id)) if run is not None and run.status in _ENDED else None


def runs(instance: dg.DagsterInstance, known: Mapping[str, Known]) -> Iterator[Observation]:
    """Yield how the last runs of each job ended; of a job that is not known yet, the last one alone.

    A run that is started again, or that failed because of checks alone, is no news: the checks are. What takes the
    place of another job is one subject with it.
    """
    records = instance.get_run_records(dg.RunsFilter(statuses=list(_ENDED)), limit=MOST_RUNS)
    seen: set[str] = set()
    for record in records:  # the newest first
        run = record.dagster_run
        name = _subject(run.job_name)
        first = name not in seen
        seen.add(name)
        before = known.get(subject_key(Kind.RUN, name), Known()).order
        order = int((record.end_time or 0.0) * 1000)
        if order > before and (first or before >= 0):
            yield _run(instance, record, order)


def _run(instance: dg.DagsterInstance, record: RunRecord, order: int) -> Observation:
    run = record.dagster_run
    at = dt.datetime.fromtimestamp(record.end_time or 0.0, dt.UTC)
    state, text = State.PASS, f"Run {run.run_id} succeeded."
    if run.status is dg.DagsterRunStatus.CANCELED or run.tags.get(WILL_RETRY_TAG) == "true":
        state = State.SKIPPED
    elif run.status is dg.DagsterRunStatus.FAILURE:
        failures = _failures(instance, run.run_id)
        planned = instance.get_records_for_run(
            run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
        ).records
        of_checks = {one.event_log_entry.step_key for one in planned}
        own = {step: why for step, why in failures.items() if step not in of_checks}
        state = State.SKIPPED if failures and not own else State.ERROR
        causes = "; ".join(f"{step}: {why}" for step, why in own.items()) or "no step failed: its process ended"
        text = f"Run {run.run_id} failed. {causes}"[:_MOST_TEXT]
    return Observation(Kind.RUN, _subject(run.job_name), state, order, text, at)


def _subject(job: str) -> str:
    # the one runs until there is a champion, the other from then on: a failure of the first would never be mended
    return "refresh" if job == "refresh_documents" else job


def _failures(instance: dg.DagsterInstance, run_id: str) -> dict[str, str]:
    """Return the failed steps of a run, each with its cause in one line."""
    found = {}
    for one in instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records:
        event = one.event_log_entry.dagster_event
        if event is not None and event.step_key is not None:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            found[event.step_key] = (cause.message.strip().splitlines() or [""])[0] if cause else "no reason was kept"
    return found


def freshness(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> Iterator[Observation]:
    """Yield how fresh each asset with a policy is, as the daemon judged it last."""
    states = {FreshnessState.PASS: State.PASS, FreshnessState.WARN: State.WARN, FreshnessState.FAIL: State.ERROR}
    for key, record in instance.get_freshness_state_records(list(keys)).items():
        state = states.get(record.freshness_state, State.SKIPPED)
        text = "It is fresh." if state is State.PASS else "It was not materialised in the time that its policy allows."
        at = record.updated_at
        yield Observation(Kind.FRESHNESS, key.to_user_string(), state, order_of(at), text, at)


def ticks(instance: dg.DagsterInstance, now: dt.datetime) -> Iterator[Observation]:
    """Yield how the last ticks of each running sensor and schedule ended."""
    if instance.schedule_storage is None:
        return
    for kind, needed in ((InstigatorType.SENSOR, SENSOR_FAILURES), (InstigatorType.SCHEDULE, 1)):
        for one in instance.all_instigator_state(instigator_type=kind):
            if one.is_running:
                yield from _tick(instance, one, needed)


def _tick(instance: dg.DagsterInstance, one: InstigatorState, needed: int) -> Iterator[Observation]:
    last = instance.get_ticks(
        one.instigator_origin_id,
        one.selector_id,
        limit=needed,
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
    )
    if not last:
        return
    failed = [tick.status is TickStatus.FAILURE for tick in last]
    state = State.ERROR if len(last) == needed and all(failed) else State.SKIPPED if failed[0] else State.PASS
    why = last[0].error.message.strip().splitlines()[:1] if last[0].error else []
    text = f"Its ticks fail: {' '.join(why)}"[:_MOST_TEXT] if state is State.ERROR else "It ticks."
    at = dt.datetime.fromtimestamp(last[0].timestamp, dt.UTC)
    yield Observation(Kind.SENSOR, one.instigator_name, state, order_of(at), text, at)


def _plain(value: Any) -> Any:
    """Return a metadata value as JSON can hold it, cut where it is long."""
    found = getattr(value, "value", value)
    if found is None or isinstance(found, bool | int | float):
        return found
    return str(found)[:300]
