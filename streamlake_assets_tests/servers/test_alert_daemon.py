"""The way of an alert with the real daemon: a check that fails, its repair, and the daemon itself when it stops.

``pytest -s`` prints the seconds from each event to its message.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from streamlake_assets.commands import services
from streamlake_assets.flows.alert_recording import DAEMON
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.supervisor import ServiceSpec
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores.operations import heartbeats
from streamlake_assets_tests.alert_targets import SECRET, WEB_TARGET, WebTarget, web_target
from streamlake_assets_tests.conftest import print_line, recreate_database, settings_in
from streamlake_assets_tests.tables import Database

pytestmark = [pytest.mark.servers, pytest.mark.slow]

RULES = (
    WEB_TARGET
    + """rules:
  - name: all
    targets: [web]
heartbeats:
  dagster-daemon: 45s
"""
)
CHECK = "raw/bars:bars_keep_the_contract"


@contextmanager
def running(spec: ServiceSpec, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service as ``up`` does, in a process group of its own."""
    with (folder / f"{spec.name}.log").open("wb") as log:
        process = subprocess.Popen(
            spec.argv,
            env={**os.environ, **spec.env, "HOOK_SECRET": SECRET},
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def told(web: WebTarget, headline: str) -> bool:
    """Wait for a message, and print how long it took."""
    begun = time.monotonic()
    arrived = wait_until(lambda: headline in web.headlines, 180)
    print_line(f"{headline}: {time.monotonic() - begun:.1f} s")
    return arrived


def test_each_event_is_one_message_through_the_real_daemon(
    mysql_server: LocalMysql, test_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recreate_database(test_settings)
    database = Database(test_settings)
    urls = {
        "mysql_url": test_settings.mysql(DatabaseRole.MIGRATE),
        "mysql_writer_url": test_settings.mysql(DatabaseRole.WRITER),
        "mysql_reader_url": test_settings.mysql(DatabaseRole.READER),
    }
    with web_target() as web:
        rules = tmp_path / "alerts.yaml"
        rules.write_text(RULES.format(url=web.url))
        settings = settings_in(tmp_path / "home", **urls, alert_rules=str(rules), alert_loopback=True)
        monkeypatch.setenv("DAGSTER_HOME", str(services.dagster_home(settings)))
        with running(services.alerts(settings), tmp_path), dg.DagsterInstance.get() as instance:
            with running(services.dagster_daemon(settings), tmp_path):
                assert wait_until(lambda: DAEMON in heartbeats(database.writer), 240)
                for passed, headline in ((False, f"Failed: {CHECK}"), (True, f"Recovered: {CHECK}")):
                    evaluation = dg.AssetCheckEvaluation(
                        asset_key=dg.AssetKey(["raw", "bars"]),
                        check_name="bars_keep_the_contract",
                        passed=passed,
                        metadata={},
                    )
                    instance.report_runless_asset_event(evaluation)
                    assert told(web, headline)
            assert told(web, f"Failed: {DAEMON}")
        assert web.headlines.count(f"Failed: {CHECK}") == web.headlines.count(f"Recovered: {CHECK}") == 1
        assert web.headlines.count(f"Failed: {DAEMON}") == 1
    database.close()
