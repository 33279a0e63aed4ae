"""The whole chain in the foreground: what ``up`` does between its servers' start and Ctrl-C.

Belongs here: migrations and topics before the services, the NiFi flow and the addresses after them. Stays out: starting
and watching (``supervise``), the command line (``cli``).
"""

from streamlake_assets.commands import data, nifi, nifi_parameters, services, supervise
from streamlake_assets.commands.dagster_runs import fail_abandoned_runs
from streamlake_assets.servers.waiting import Say
from streamlake_assets.settings import Settings
from streamlake_assets.sidecar.alert_delivery import load_configured


def run_chain(settings: Settings, wants_nifi: bool | None, say: Say) -> None:
    """Run servers and services until a signal asks to stop.

    Args:
        settings: where everything is.
        wants_nifi: as ``supervise.with_nifi`` takes it.
        say: takes progress, from several threads.

    Raises:
        AlreadyRunningError: a supervisor runs in this folder.
        UsageError: the file of alert rules is wrong.
        StreamlakeError: something did not start; what had started is stopped.
    """
    load_configured(settings)  # a wrong rule file is told now, not after the servers' start
    uses_nifi = supervise.with_nifi(settings, wants_nifi, say)

    def before_services() -> None:
        say(f"schema and topics: {data.prepare(settings)}")
        for run in fail_abandoned_runs(services.dagster_home(settings)):
            say(f"Dagster run {run} was left in progress by a supervisor that was killed: marked as failed")

    def ready() -> None:
        if uses_nifi:
            nifi.deploy(settings, [nifi_parameters.REPLAY], {}, say)
            say(f"nifi: {settings.nifi}/nifi watches {nifi_parameters.inbox(settings)}")
        for name in ("dagster", "panel"):
            say(f"{name}: {supervise.urls(settings)[name]}")
        say("Ctrl-C stops everything")

    supervise.up(settings, say, before_services, ready, uses_nifi)
