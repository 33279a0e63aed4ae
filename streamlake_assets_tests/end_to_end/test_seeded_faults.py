"""What wakes people, on the running program: three faults are planted in a chain on real bars, each is one mail and one
post, and each repair another one; nothing else is told.

``pytest -s`` prints the seconds from fault to message.
"""

import datetime as dt
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import sqlalchemy as sa

from streamlake_assets.servers.process import HOME_VARIABLE, marked_processes
from streamlake_assets.settings import DATABASE, DatabaseRole
from streamlake_assets.stores.documents import SESSIONS
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.alert_targets import SECRET, TARGETS, MailTarget, WebTarget, mail_target, web_target
from streamlake_assets_tests.conftest import print_line
from streamlake_assets_tests.end_to_end.conftest import Place, wait_for

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]
RULES = (
    TARGETS
    + """rules:
  - name: all
    targets: [web, mail]
    severity: error
    # one fault is one message: a consumer is told by its heartbeat, a missing document by the check of documents, a
    # bar that breaks the contract by the check of bars, not by its document that is no longer what its bars give
    except:
      - stream/consumer:consumer_is_alive
      - documents/feature_buckets:buckets_hold_every_session
      - documents/session_bars:documents_equal_their_bars
thresholds:
  - name: cheap
    of: price
    instruments: [CHEAP]
    below: 5
    severity: error
heartbeats:
  consumer: 20s
"""
)
BROKEN = "raw/bars:bars_keep_the_contract"
COVERED = "documents/session_bars:documents_cover_sessions"
MOST_S = 240.0
"""A check is looked at with the next refresh, a minute apart from the last one."""


class Watch:
    """The running chain, and what both targets got."""

    def __init__(self, place: Place, web: WebTarget, mail: MailTarget) -> None:
        self.place, self.web, self.mail = place, web, mail
        self._bars = 0

    def new_bar(self, symbol: str = "SEED", close: float = 10.0) -> None:
        """Let one more bar come in: what the stream brings makes the next refresh, and with it the checks."""
        self._bars += 1
        day = dt.date(2013, 3, 1) + dt.timedelta(days=3 * self._bars)
        while day.weekday() > 4:
            day += dt.timedelta(days=1)
        path = self.place.folder / f"bar{self._bars}.csv"
        close += self._bars / 100  # the same again would be a feed that hangs
        row = f"{symbol},{day},{close:.2f},{close + 1:.2f},{close - 1:.2f},{close:.2f},1000"
        path.write_text(f"symbol,date,open,high,low,close,volume\n{row}\n")
        done = self.place.run("replay", str(path), "--interval", "1d", "--exchange", "XNYS", "--no-wait")
        assert done.returncode == 0, done.stderr

    def told(self, name: str, recovered: bool = False) -> None:
        """Wait for the one mail and the one post that say that a subject is not well, or well again."""
        begun = time.monotonic()

        def said(headlines: list[str]) -> bool:
            return any(one.endswith(f": {name}") and ("Recovered" in one) is recovered for one in headlines)

        wait_for(lambda: said(self.web.headlines), f"post about {name}", MOST_S)
        posted = time.monotonic() - begun
        wait_for(lambda: said(self.mail.subjects), f"mail about {name}", MOST_S)
        word = "recovered" if recovered else "failed"
        print_line(f"{name} {word}: post after {posted:.1f} s, mail after {time.monotonic() - begun:.1f} s")

    def counts(self) -> dict[tuple[str, bool], tuple[int, int]]:
        """How often each subject was posted and mailed, by whether it had recovered."""
        found: dict[tuple[str, bool], list[int]] = {}
        for place, headlines in enumerate((self.web.headlines, self.mail.subjects)):
            for one in headlines:
                found.setdefault((one.rpartition(": ")[2], "Recovered" in one), [0, 0])[place] += 1
        return {what: (posts, mails) for what, (posts, mails) in found.items()}


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """``up`` on the real bars of a demo, with rules that tell a web server and a mail server everything."""
    folder = tmp_path_factory.mktemp("seeded")
    with web_target() as web, mail_target() as mail, pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOOK_SECRET", SECRET)
        rules = folder / "alerts.yaml"
        rules.write_text(RULES.format(url=web.url, port=mail.port))
        place = Place(folder, local_mysql="auto", engines="sklearn", alert_rules=str(rules), alert_loopback=True)
        done = place.run("demo", "--once", "--no-nifi", timeout=600)
        assert done.returncode == 0, done.stderr + done.stdout
        with place.running("up", "--no-nifi") as process:
            wait_for(lambda: "Ctrl-C stops everything" in place.said() or process.poll() is not None, "up", 300)
            assert process.poll() is None, place.said()
            yield Watch(place, web, mail)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, place.said()
        place.run("down")


def planted(place: Place, high: str) -> None:
    """Give one 5-minute bar of the past another high, as the user who may switch off the CHECKs."""
    engine = make_engine(place.settings, DatabaseRole.MIGRATE)
    with engine.begin() as connection:
        switch_checks(connection, on=False)
        changed = connection.exec_driver_sql(
            "UPDATE bars b JOIN (SELECT instrument_id, interval_id, bar_time FROM bars WHERE synthetic ORDER BY "
            "bar_time, instrument_id LIMIT 1) one USING (instrument_id, interval_id, bar_time) SET b.high = %s",
            (high,),
        )
        assert changed.rowcount == 1
    engine.dispose()


def switch_checks(connection: sa.Connection, *, on: bool) -> None:
    """Switch the CHECKs of ``bars``: MariaDB's for this session, MySQL's for the table."""
    if "mariadb" in str(connection.exec_driver_sql("SELECT VERSION()").scalar_one()).lower():
        connection.exec_driver_sql(f"SET SESSION check_constraint_checks={int(on)}")
        return
    named = "SELECT constraint_name FROM information_schema.table_constraints WHERE table_schema = DATABASE() "
    named += "AND table_name = 'bars' AND constraint_type = 'CHECK'"
    for (name,) in connection.execute(sa.text(named)).all():
        connection.exec_driver_sql(f"ALTER TABLE bars ALTER CHECK `{name}` {'' if on else 'NOT '}ENFORCED")


def checks_back(place: Place) -> None:
    engine = make_engine(place.settings, DatabaseRole.MIGRATE)
    with engine.begin() as connection:
        switch_checks(connection, on=True)
    engine.dispose()


def high_of_first(place: Place) -> str:
    engine = make_engine(place.settings, DatabaseRole.READER)
    query = "SELECT high FROM bars WHERE synthetic ORDER BY bar_time, instrument_id LIMIT 1"
    with engine.connect() as connection:
        found = str(connection.execute(sa.text(query)).scalar_one())
    engine.dispose()
    return found


def pid_of(place: Place, word: str) -> int:
    """The process of this folder whose command names ``word``."""
    home = str(place.settings.data_dir)
    for pid, environment in marked_processes():
        if environment[HOME_VARIABLE] == home and word in _command(pid):
            return pid
    raise AssertionError(f"no process {word}")


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_three_faults_are_three_messages_at_each_target_and_so_are_their_repairs(watch: Watch) -> None:
    place = watch.place
    # the first refresh of `up` must have passed: what is new to the checks is news, and no fault
    watch.new_bar()
    wait_for(lambda: _refreshes(place) > 0, "a refresh under up", 300)
    assert watch.counts() == {}

    # a bar that breaks its contract
    right = high_of_first(place)
    planted(place, "0.01")
    watch.new_bar()
    watch.told(BROKEN)
    planted(place, right)
    checks_back(place)
    watch.new_bar()
    watch.told(BROKEN, recovered=True)

    # a consumer that stands still
    consumer = pid_of(place, "sidecar.consumer")
    os.kill(consumer, signal.SIGSTOP)
    try:
        watch.told("consumer")
    finally:
        os.kill(consumer, signal.SIGCONT)
    watch.told("consumer", recovered=True)

    # a document that is gone
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(place.settings.mongo)
    documents = client[DATABASE][SESSIONS]
    kept = documents.find_one_and_delete({"_id": "IBM|XNYS|2012-06-15"})
    assert kept is not None
    watch.new_bar()
    watch.told(COVERED)
    assert place.run("cache", "--full", timeout=300).returncode == 0
    assert documents.find_one({"_id": kept["_id"]}) == kept
    client.close()
    watch.new_bar()
    watch.told(COVERED, recovered=True)

    expected = {(what, recovered): (1, 1) for what in (BROKEN, "consumer", COVERED) for recovered in (False, True)}
    assert watch.counts() == expected


def test_a_price_beyond_its_limit_is_told_and_so_is_its_return(watch: Watch) -> None:
    watch.new_bar("CHEAP", 6.0)
    watch.new_bar("CHEAP", 4.0)
    watch.told("cheap:CHEAP|XNYS")
    watch.new_bar("CHEAP", 7.0)
    watch.told("cheap:CHEAP|XNYS", recovered=True)


def _refreshes(place: Place) -> int:
    query = '{runsOrError(filter: {pipelineName: "refresh", statuses: [SUCCESS]}) {... on Runs {results {runId}}}}'
    found: Any = place.graphql(query)
    return len(found["runsOrError"]["results"])
