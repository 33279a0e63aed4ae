"""Dagster from inside this process: runs of the project's jobs, ticks of its sensors, results of its checks.

Belongs here: what a demo needs to drive Dagster without a daemon, recorded in the same instance that the web server
shows. Stays out: assets and checks themselves (``defs``).
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import dagster as dg

from streamlake_assets.definitions import defs
from streamlake_assets.defs.jobs import raw_watermark, refresh_needed
from streamlake_assets.defs.reports import ON_DEMAND
from streamlake_assets.errors import StreamlakeError
from streamlake_assets.resources import StoreAccess
from streamlake_assets.settings import Settings

QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run config that keeps Dagster's events out of the terminal; the instance has all of them, errors included."""


_IN_PROGRESS: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""What only a living process can end; a queued run is not among them: the daemon launches it."""


T = TypeVar("T")


class CheckState(NamedTuple):
    """Latest result of one asset check; ``passed`` is None when it never ran to its end."""

    asset: str
    name: str
    passed: bool | None
    severity: str
    text: str


class DagsterDriver:
    """Drives the code location against the instance in ``DAGSTER_HOME`` of these settings."""

    def __init__(self, settings: Settings, home: Path) -> None:
        self._definitions = defs()
        self._instance = dg.DagsterInstance.from_config(str(home))
        self._stores = StoreAccess(settings)
        self._cursors: dict[str, str | None] = {}

    def close(self) -> None:
        """Close the instance."""
        self._instance.dispose()

    def run(self, job: str, config: dict[str, Any] | None = None) -> str:
        """Run a job in this process; return the run's id.

        Raises:
            StreamlakeError: a step failed; the message names step and cause.
            KeyboardInterrupt: a signal asked to stop.
        """
        definition = self._definitions.resolve_job_def(job)
        result = _beside_signals(
            lambda: definition.execute_in_process(
                instance=self._instance,
                run_config={**QUIET, **(config or {})},
                resources={"stores": self._stores},
                raise_on_error=False,
            )
        )
        if not result.success:
            raise StreamlakeError(f"Dagster run {result.run_id} of {job} failed: {_causes(result)}")
        return result.run_id

    def tick_raw_watermark(self) -> int:
        """Evaluate the sensor that reports the raw tables, and record what it reports; return the number of events."""
        result = self._tick("raw_watermark", raw_watermark)
        if not isinstance(result, dg.SensorResult):
            return 0
        for event in result.asset_events:
            self._instance.report_runless_asset_event(event)
        return len(result.asset_events)

    def tick_refresh(self) -> list[str]:
        """Evaluate the refresh sensor and run what it asks for; return the ids of the runs."""
        result = self._tick("refresh_needed", refresh_needed)
        if not isinstance(result, dg.SensorResult):
            return []
        return [self.run(str(request.job_name)) for request in result.run_requests or []]

    def skip_refresh(self) -> None:
        """Let the refresh sensor take the present offsets as refreshed: a run that was just made has done so."""
        self._tick("refresh_needed", refresh_needed)

    def checks(self) -> list[CheckState]:
        """Return the latest finished result of every check; one that a run has only planned says nothing.

        A check of an asset that is made on demand is there once it has run.
        """
        keys = sorted(self._definitions.resolve_asset_graph().asset_check_keys)
        history = self._instance.event_log_storage.get_asset_check_execution_history
        states = {key: _state(key, history(key, limit=10)) for key in keys}
        return [state for key, state in states.items() if state.passed is not None or key.asset_key not in ON_DEMAND]

    def materialized(self) -> list[str]:
        """Return the assets that have been materialised, by key."""
        keys = self._definitions.resolve_asset_graph().get_all_asset_keys()
        events = self._instance.get_latest_materialization_events(list(keys))
        return sorted(key.to_user_string() for key, event in events.items() if event is not None)

    def _tick(self, name: str, sensor: dg.SensorDefinition) -> Any:
        context = dg.build_sensor_context(
            instance=self._instance, cursor=self._cursors.get(name), resources={"stores": self._stores}
        )
        result = sensor(context)
        if isinstance(result, dg.SensorResult):
            self._cursors[name] = result.cursor
        return result


def fail_abandoned_runs(home: Path) -> list[str]:
    """Mark the runs that a killed supervisor left in progress as failed; return their ids.

    To be called before anything of this folder that could run one has started. Left as they are, they would keep the
    refresh sensor waiting for half an hour, until their longest runtime is over.
    """
    with dg.DagsterInstance.from_config(str(home)) as instance:
        records = instance.get_run_records(dg.RunsFilter(statuses=_IN_PROGRESS))
        for record in records:
            instance.report_run_failed(record.dagster_run, "Left in progress by a supervisor that was killed.")
        return [record.dagster_run.run_id for record in records]


def _state(key: dg.AssetCheckKey, records: Sequence[Any]) -> CheckState:
    found = (record.evaluation for record in records if record.event is not None)
    evaluation = next((each for each in found if isinstance(each, dg.AssetCheckEvaluation)), None)
    asset = key.asset_key.to_user_string()
    if evaluation is None:
        return CheckState(asset, key.name, None, "error", "never ran to its end")
    return CheckState(
        asset, key.name, evaluation.passed, evaluation.severity.value.lower(), evaluation.description or ""
    )


def _beside_signals(work: Callable[[], T]) -> T:
    """Do work in a thread of its own while this one takes signals, and return its result.

    In the main thread Dagster puts its own handler in the place of ours for the length of a run, and forgets a signal
    that comes after its last look: a Ctrl-C would be lost. The thread is left behind when a signal ends the wait; the
    servers it works on are stopped next, and its run is marked as failed by the next start.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="dagster-run", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.2)
    if failed:
        raise failed[0]
    return done[0]


def _causes(result: dg.ExecuteInProcessResult) -> str:
    causes = []
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error is not None and error.cause is not None else error
            causes.append(f"{event.step_key}: {cause.message.strip() if cause is not None else 'unknown'}")
    return "; ".join(causes) or "see the run in Dagster"
