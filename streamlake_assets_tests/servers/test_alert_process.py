"""The delivery process and its commands on a real database: delivers, stops clean, refuses bad files, keeps secrets."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streamlake_assets.commands import alerts as commands
from streamlake_assets.errors import UsageError
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.probes import http_ready
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings
from streamlake_assets.stores import schema
from streamlake_assets.stores.operations import beat, heartbeats, raise_alert
from streamlake_assets_tests.alert_targets import SECRET, TARGETS, MailTarget, WebTarget, mail_target, web_target
from streamlake_assets_tests.conftest import recreate_database, settings_in
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

RULES = (
    TARGETS.replace("{url}", "file:secrets/url")
    + """rules:
  - name: all
    targets: [web, mail]
heartbeats:
  consumer: 2s
"""
)


class Post:
    """A folder with a rule file, its targets and the database."""

    def __init__(self, settings: Settings, database: Database, web: WebTarget, mail: MailTarget) -> None:
        self.settings, self.database, self.web, self.mail = settings, database, web, mail
        self.log = settings.data_dir / "alerts.log"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.settings.as_environment(), "HOOK_SECRET": SECRET, "COLUMNS": "200"}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``streamlake alerts``."""
        return subprocess.run(
            [sys.executable, "-m", "streamlake_assets.cli", "alerts", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def delivering(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run the process; it has ended by itself with exit code 0 afterwards."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "streamlake_assets.sidecar.alert_delivery"], env=self.environment, stderr=log
            )
        try:
            ready = f"http://{LOOPBACK}:{self.settings.alerts_port}/readyz"
            assert wait_until(lambda: http_ready(ready), 60), self.log.read_text()
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, self.log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def post(mysql_server: LocalMysql, test_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    recreate_database(test_settings)
    folder = tmp_path_factory.mktemp("alerts")
    urls = {
        "mysql_url": test_settings.mysql(DatabaseRole.MIGRATE),
        "mysql_writer_url": test_settings.mysql(DatabaseRole.WRITER),
        "mysql_reader_url": test_settings.mysql(DatabaseRole.READER),
    }
    settings = settings_in(folder, **urls, alert_rules=str(folder / "alerts.yaml"), alert_loopback=True)
    database = Database(test_settings)
    with web_target() as web, mail_target() as mail:
        (folder / "secrets").mkdir()
        (folder / "secrets" / "url").write_text(web.url)
        (folder / "alerts.yaml").write_text(RULES.format(port=mail.port))
        yield Post(settings, database, web, mail)
    database.close()


@pytest.fixture
def hook_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)


def test_alerts_arrive_at_both_targets_and_a_silent_consumer_is_one_of_them(post: Post) -> None:
    beat(post.database.writer, "consumer", {})
    with post.delivering():
        raise_alert(post.database.writer, "stopped:0", "error", "bars[0] is stopped", "too many bad messages")
        assert wait_until(lambda: len(post.web.headlines) == len(post.mail.got) == 2, 30), post.log.read_text()
        assert wait_until(lambda: beat(post.database.writer, "consumer", {}) or len(post.mail.got) >= 3, 30)
    assert sorted(post.web.headlines[:2]) == ["Failed: consumer", "bars[0] is stopped"]
    assert "Recovered: consumer" in post.web.headlines
    _, state = heartbeats(post.database.writer)["alerts"]
    assert state["given_up"] == 0
    assert [row.name for row in post.database.rows(schema.alert_rules)] == ["all"]
    log = post.log.read_text()
    assert "delivering" in log
    assert SECRET not in log and "token-in-path" not in log


def test_the_list_has_the_proof_and_what_was_seen_is_marked(post: Post, hook_secret: None) -> None:
    raise_alert(post.database.writer, "stopped:9", "error", "bars[9] is stopped", "too many bad messages")
    assert commands.deliver_once(post.settings)["failed"] == 0
    found = {one["headline"]: one for one in commands.listing(post.settings, 20, only_open=False)}
    proofs = {one["target"]: one for one in found["bars[9] is stopped"]["deliveries"]}
    assert proofs["web"]["response"].startswith("HTTP 200")
    assert proofs["mail"]["attempts"] == 1
    number = found["bars[9] is stopped"]["id"]
    assert commands.acknowledge(post.settings, number, "ann") == {"acknowledged": [number], "by": "ann"}
    shown = post.run("list")
    assert "ann" in shown.stdout and "bars[9] is stopped" in shown.stdout
    assert SECRET not in shown.stdout + json.dumps(found)


def test_a_test_message_says_what_each_target_answered(post: Post, hook_secret: None) -> None:
    both = commands.try_targets(post.settings, None)
    assert {one["target"]: one["delivered"] for one in both} == {"web": True, "mail": True}
    post.web.answer = lambda: (500, {})
    try:
        (failed,) = commands.try_targets(post.settings, "web")
    finally:
        post.web.answer = lambda: (200, {})
    assert not failed["delivered"] and failed["response"].startswith("HTTP 500")
    with pytest.raises(UsageError, match="there is no target nobody"):
        commands.try_targets(post.settings, "nobody")


def test_rules_are_shown_and_a_wrong_file_is_refused_with_its_lines_by_every_way_in(
    post: Post, hook_secret: None, tmp_path: Path
) -> None:
    shown = commands.rules(post.settings, None)
    assert [rule["name"] for rule in shown["rules"]] == ["all"]
    assert shown["heartbeats"] == {"consumer": "2s"}
    assert SECRET not in json.dumps(shown) and "token-in-path" not in json.dumps(shown)
    wrong = tmp_path / "wrong.yaml"
    text = RULES.format(port=1).replace("file:secrets/url", "https://10.0.0.1/")
    wrong.write_text(text.replace("    targets: [web, mail]\n", "    targets: [web]\n    match: ['raw/bars:gone']\n"))
    refused = post.run("rules", str(wrong))
    assert refused.returncode == 2
    assert "line 4: 10.0.0.1 is not a public address" in refused.stderr
    assert "line 18: no check is named 'raw/bars:gone'" in refused.stderr
    for module in (["streamlake_assets.sidecar.alert_delivery"], ["streamlake_assets.cli", "up", "--no-nifi"]):
        done = subprocess.run(
            [sys.executable, "-m", *module],
            env={**post.environment, "STREAMLAKE_ALERT_RULES": str(wrong)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2, module
        assert "line 4: 10.0.0.1 is not a public address" in done.stderr, module
        assert "Traceback" not in done.stderr, module
