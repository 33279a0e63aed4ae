"""Alerts on a real database: each edge once, whoever sees it; routed, held, folded, delivered, acknowledged, proven."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from streamlake_assets.alerts.mail import MailNotifier
from streamlake_assets.alerts.notifier import NotDeliveredError, Notifier, Receipt
from streamlake_assets.alerts.webhook import WebhookNotifier
from streamlake_assets.errors import UsageError
from streamlake_assets.flows.alert_desk import AlertDesk
from streamlake_assets.flows.alert_recording import DAEMON, record_observed
from streamlake_assets.market.alert_messages import Message
from streamlake_assets.market.alert_rules import GIVE_UP_S, Chat, Rule, Rules, Storm
from streamlake_assets.market.alerts import Kind, Observation, Severity, State
from streamlake_assets.settings import LOOPBACK
from streamlake_assets.stores import alert_list, alert_outbox, alert_states, schema
from streamlake_assets.stores.operations import beat, put_alert, raise_alert
from streamlake_assets_tests.alert_targets import SECRET, MailTarget, WebTarget, mail_target, web_target
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

NOON = dt.datetime(2024, 1, 2, 12, tzinfo=dt.UTC)


class Seat:
    """A target of a test: keeps what it got, fails when told to; and the desk that serves it."""

    def __init__(self, database: Database, **rule: Any) -> None:
        self.database = database
        self.got: list[Message] = []
        self.fails = ""
        self.now = 0.0
        self._order = 0
        storm = rule.pop("storm", Storm(messages=100))
        self.rules = Rules(
            targets=(Chat(name="ops", url="env:X", storm=storm),),
            rules=(Rule(name="all", targets=("ops",), **rule),),
            heartbeats=rule.pop("heartbeats", {}),
        )
        self.desk = self.another()

    def another(self, heartbeats: dict[str, str] | None = None) -> AlertDesk:
        rules = Rules(self.rules.targets, self.rules.rules, heartbeats or {})
        return AlertDesk(self.database.writer, rules, {"ops": self}, monotonic=lambda: self.now)

    def send(self, message: Message) -> Receipt:
        if self.fails:
            raise NotDeliveredError(self.fails)
        self.got.append(message)
        return Receipt("HTTP 200 OK")

    def see(self, *states: State, name: str = "raw/bars:ok") -> None:
        for state in states:
            self._order += 1
            alert_states.record(
                self.database.writer, [Observation(Kind.CHECK, name, state, self._order, f"no {self._order}", NOON)]
            )

    @property
    def headlines(self) -> list[str]:
        return [alert.headline for message in self.got for alert in message.alerts]


def age(database: Database, table: sa.Table, column: str, seconds: float) -> None:
    """Move a time of all rows back: the database's clock is the only one."""
    moved = sa.func.timestampadd(sa.text("SECOND"), -int(seconds), table.c[column])
    with database.admin.begin() as connection:
        connection.execute(sa.update(table).values({column: moved}))


def test_each_edge_is_one_alert_with_its_history_and_what_is_seen_again_is_none(database: Database) -> None:
    seen = [
        Observation(Kind.CHECK, "raw/bars:ok", state, order, "text", NOON, {"wrong": order})
        for order, state in enumerate([State.PASS, State.WARN, State.WARN, State.ERROR, State.PASS])
    ]
    first = alert_states.record(database.writer, seen)
    again = alert_states.record(database.writer, seen)
    assert [edge.headline for edge in first] == [
        "Warning: raw/bars:ok",
        "Failed (was warning): raw/bars:ok",
        "Recovered: raw/bars:ok",
    ]
    assert again == []
    rows = database.rows(schema.alert_outbox)
    assert [(row.state, row.severity, row.worst) for row in rows] == [
        ("raised", "warning", "warning"),
        ("raised", "error", "error"),
        ("recovered", "info", "error"),
    ]
    assert [row.passed for row in database.rows(schema.check_history)] == [True, False, False, False, True]
    (state,) = database.rows(schema.alert_states)
    assert (state.state, state.seen, state.edges, state.alert_id) == ("pass", 4, 3, rows[-1].id)


def test_many_sensors_that_see_the_same_at_once_write_one_alert_for_each_edge(database: Database) -> None:
    names = [f"raw/bars:check_{number}" for number in range(5)]
    seen = [Observation(Kind.CHECK, name, State.ERROR, 1, "text", NOON) for name in names]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: alert_states.record(database.writer, seen), range(8)))
    assert sorted(edge.observation.name for edges in made for edge in edges) == names
    assert database.count(schema.alert_outbox) == database.count(schema.check_history) == 5


def test_a_sensor_records_what_is_new_and_says_that_it_lives(database: Database) -> None:
    engine = database.writer
    one = Observation(Kind.RUN, "daily", State.ERROR, 10, "Run x failed.", NOON)
    known_before = []

    def observe(known: Any) -> list[Observation]:
        known_before.append(dict(known))
        return [one]

    assert [edge.headline for edge in record_observed(engine, observe)] == ["Failed: daily"]
    assert record_observed(engine, observe) == []
    assert known_before[1]["run:daily"].order == 10
    assert [row.process for row in database.rows(schema.heartbeats)] == [DAEMON]


def test_a_failure_and_its_repair_are_one_message_each_with_proof(database: Database) -> None:
    seat = Seat(database)
    for states in ((State.ERROR,), (State.ERROR, State.ERROR), (State.PASS,), (State.PASS,)):
        seat.see(*states)
        seat.desk.turn()
        seat.desk.turn()
    assert seat.headlines == ["Failed: raw/bars:ok", "Recovered: raw/bars:ok"]
    recovered, failed = alert_list.newest(database.writer, 10)
    (proof,) = failed["deliveries"]
    assert (proof["state"], proof["attempts"], proof["response"]) == ("delivered", 1, "HTTP 200 OK")
    assert proof["delivered_at"] is not None and proof["message"] == seat.got[0].id
    assert not failed["open"] and not recovered["open"]
    assert all(row.sent_at is not None and row.attempts == 1 for row in database.rows(schema.alert_outbox))


def test_an_outage_of_the_target_loses_nothing_and_repeats_nothing(database: Database) -> None:
    seat = Seat(database)
    seat.fails = "HTTP 503"
    seat.see(State.ERROR, State.PASS, State.WARN)
    for _ in range(5):
        seat.desk.turn()
    assert {row.attempts for row in database.rows(schema.alert_deliveries)} == {0, 1}, "it is left alone for a while"
    assert database.rows(schema.alert_deliveries)[0].response == "HTTP 503"
    seat.fails = ""
    seat.now += 10
    seat.desk.turn()
    assert seat.headlines == ["Recovered: raw/bars:ok", "Warning: raw/bars:ok"], "the first waits for its next try"
    age(database, schema.alert_deliveries, "due_at", 10)
    seat.desk.turn()
    seat.desk.turn()
    assert len(seat.headlines) == 3
    assert {row.state for row in database.rows(schema.alert_deliveries)} == {"delivered"}


def test_a_target_that_is_away_for_days_is_given_up_and_says_so(database: Database) -> None:
    seat = Seat(database)
    seat.fails = "HTTP 404"
    seat.see(State.ERROR)
    seat.desk.route()
    age(database, schema.alert_outbox, "created_at", GIVE_UP_S + 60)
    assert seat.desk.turn().given_up == 1
    assert alert_list.backlog(database.writer) == {"waiting": 0, "given_up": 1}
    (row,) = database.rows(schema.alert_outbox)
    assert row.sent_at is None


def test_two_deliveries_at_once_send_nothing_twice(database: Database) -> None:
    seat = Seat(database)
    seat.see(State.ERROR)
    one, other = seat.desk, seat.another()
    one.route()
    due, _ = alert_outbox.due(database.writer, "ops", 60)
    assert len(alert_outbox.claim(database.writer, due)) == 1
    assert alert_outbox.claim(database.writer, due) == []
    assert other.turn().messages == 0, "it is claimed"
    age(database, schema.alert_deliveries, "due_at", alert_outbox.CLAIM_S + 1)
    assert other.turn().messages == 1, "the one that claimed it died"


def test_two_hundred_checks_that_flip_are_one_message(database: Database) -> None:
    seat = Seat(database, storm=Storm(messages=2))
    names = [f"raw/bars:check_{number}" for number in range(200)]
    seen = [Observation(Kind.CHECK, name, State.ERROR, 1, "text", NOON) for name in names]
    alert_states.record(database.writer, seen)
    for _ in range(3):
        seat.desk.turn()
    assert [len(message.alerts) for message in seat.got] == [200]
    assert sorted(alert.name for alert in seat.got[0].alerts) == sorted(names)
    assert seat.got[0].headline == "[streamlake] 200 alerts: 200 raised, 0 recovered"


def test_past_the_window_s_messages_alerts_wait_for_the_next_window(database: Database) -> None:
    seat = Seat(database, storm=Storm(messages=1))
    for number in range(4):
        seat.see(State.ERROR, name=f"raw/bars:check_{number}")
        seat.desk.turn()
    assert [len(message.alerts) for message in seat.got] == [1, 1], "one message and the digest"
    age(database, schema.alert_deliveries, "delivered_at", 61)
    seat.desk.turn()
    assert [len(message.alerts) for message in seat.got] == [1, 1, 2]


def test_within_a_cooldown_what_comes_and_goes_is_told_once(database: Database) -> None:
    seat = Seat(database, cooldown="5m")
    for _ in range(4):
        seat.see(State.WARN)
        seat.desk.turn()
        seat.see(State.PASS)
        seat.desk.turn()
    assert seat.headlines == ["Warning: raw/bars:ok", "Recovered: raw/bars:ok"]
    seat.see(State.WARN)
    seat.desk.turn()
    assert len(seat.headlines) == 2
    age(database, schema.alert_deliveries, "due_at", 301)
    seat.desk.turn()
    assert seat.headlines[2:] == ["Warning: raw/bars:ok"], "what stays bad is told when the cooldown is over"
    folded = [row.state for row in database.rows(schema.alert_deliveries)].count("folded")
    assert folded == 6, "each of them is kept, with the reason"


def test_within_a_cooldown_what_gets_worse_is_told_at_once(database: Database) -> None:
    seat = Seat(database, cooldown="5m")
    for state in (State.WARN, State.ERROR, State.WARN, State.PASS):
        seat.see(state)
        seat.desk.turn()
    assert seat.headlines == [
        "Warning: raw/bars:ok",
        "Failed (was warning): raw/bars:ok",
        "Recovered: raw/bars:ok",
    ]


def test_what_is_below_the_rule_or_excepted_is_kept_and_told_to_nobody(database: Database) -> None:
    seat = Seat(database, severity=Severity.ERROR, except_=("raw/bars:quiet",))
    seat.see(State.WARN, State.PASS)
    seat.see(State.ERROR, State.PASS, name="raw/bars:quiet")
    seat.desk.turn()
    assert (seat.got, database.count(schema.alert_outbox)) == ([], 4)
    assert all(row.routed_at is not None for row in database.rows(schema.alert_outbox))


def test_what_processes_say_of_themselves_is_told_and_that_it_is_over_too(database: Database) -> None:
    seat = Seat(database, severity=Severity.ERROR)
    raise_alert(database.writer, "stopped:1", "error", "bars[0] is stopped", "too many bad messages")
    with database.writer.begin() as connection:
        put_alert(connection, "resumed:1", "info", "bars[0] is read again", "somebody let it go", state="recovered")
    seat.desk.turn()
    assert seat.headlines == ["bars[0] is stopped", "bars[0] is read again"]


def test_a_process_that_falls_silent_is_one_alert_and_its_next_beat_another(database: Database) -> None:
    seat = Seat(database)
    desk = seat.another({"consumer": "60s", "scorer": "60s"})
    beat(database.writer, "consumer", {})
    assert desk.watch() == [], "a scorer that never beat has the same time to begin"
    age(database, schema.heartbeats, "beat_at", 90)
    desk._begun = NOON
    assert [edge.headline for edge in desk.watch()] == ["Failed: consumer", "Failed: scorer"]
    assert desk.watch() == []
    beat(database.writer, "consumer", {})
    assert [edge.headline for edge in desk.watch()] == ["Recovered: consumer"]
    desk.turn()
    assert sorted(seat.headlines) == ["Failed: consumer", "Failed: scorer", "Recovered: consumer"]


def test_what_stays_bad_is_repeated_until_somebody_has_seen_it(database: Database) -> None:
    seat = Seat(database, remind="1h")
    seat.see(State.ERROR)
    seat.desk.turn()
    seat.desk.remind()
    assert len(seat.headlines) == 1
    age(database, schema.alert_outbox, "created_at", 3_700)
    for _ in range(3):
        seat.desk.remind()
        seat.desk.turn()
    assert seat.headlines == ["Failed: raw/bars:ok", "Still: Failed: raw/bars:ok"]
    assert alert_list.acknowledge(database.writer, None, "ann") == [1]
    assert alert_list.acknowledge(database.writer, None, "bob") == []
    age(database, schema.alert_outbox, "created_at", 3_700)
    seat.desk.remind()
    seat.see(State.PASS)
    seat.desk.turn()
    assert seat.headlines[2:] == ["Recovered: raw/bars:ok"], "that all is well is told as ever"
    assert [row.acked_by for row in database.rows(schema.alert_acks)] == ["ann"]


def test_only_what_is_not_well_now_is_open_and_an_alert_that_is_not_there_cannot_be_seen(database: Database) -> None:
    seat = Seat(database)
    seat.see(State.ERROR, State.PASS)
    seat.see(State.WARN, name="raw/bars:other")
    assert [one["headline"] for one in alert_list.newest(database.writer, 10, only_open=True)] == [
        "Warning: raw/bars:other"
    ]
    with pytest.raises(UsageError, match="there is no alert 99"):
        alert_list.acknowledge(database.writer, 99, "ann")


def test_evaluations_are_kept_for_two_weeks(database: Database) -> None:
    now = dt.datetime.now(dt.UTC)
    ages = [dt.timedelta(days=days) for days in (15, 14.1, 13.9, 0)]
    seen = [Observation(Kind.CHECK, "raw/bars:ok", State.PASS, n, "", now - age) for n, age in enumerate(ages)]
    alert_states.record(database.writer, seen)
    assert alert_states.forget_history(database.writer) == 2
    assert alert_states.forget_history(database.writer) == 0
    assert [row.detail["text"] for row in database.rows(schema.check_history)] == ["", ""]
    assert alert_states.known_subjects(database.writer)["check:raw/bars:ok"].order == 3


@pytest.fixture
def web() -> Iterator[WebTarget]:
    with web_target() as target:
        yield target


@pytest.fixture
def mail() -> Iterator[MailTarget]:
    with mail_target() as target:
        yield target


def test_a_fault_is_one_mail_and_one_webhook_and_its_repair_another_also_through_outages_of_one(
    database: Database, web: WebTarget, mail: MailTarget
) -> None:
    seat = Seat(database)
    rules = Rules(
        targets=(Chat(name="mail", url="env:X"), Chat(name="web", url="env:X")),
        rules=(Rule(name="all", targets=("web", "mail")),),
        heartbeats={},
    )
    notifiers: dict[str, Notifier] = {
        "web": WebhookNotifier(web.url, SECRET, loopback=True),
        "mail": MailNotifier(LOOPBACK, mail.port, "a@example.com", ["b@example.com"], "none"),
    }
    desk = AlertDesk(database.writer, rules, notifiers, monotonic=lambda: seat.now)
    web.answer = lambda: (503, {})
    seat.see(State.ERROR)
    desk.turn()
    assert (web.got, mail.subjects) == ([], ["[streamlake] Failed: raw/bars:ok"]), "one that is away holds up no other"
    web.answer = lambda: (200, {})
    age(database, schema.alert_deliveries, "due_at", 60)
    seat.now += 60
    desk.turn()
    seat.see(State.PASS)
    desk.turn()
    desk.turn()
    assert web.headlines == ["Failed: raw/bars:ok", "Recovered: raw/bars:ok"]
    assert mail.subjects == ["[streamlake] Failed: raw/bars:ok", "[streamlake] Recovered: raw/bars:ok"]
    assert {row.state for row in database.rows(schema.alert_deliveries)} == {"delivered"}
    assert SECRET not in str(database.rows(schema.alert_deliveries))


def test_rules_in_force_are_shown_and_those_of_before_are_gone(database: Database) -> None:
    alert_list.put_rules(database.writer, [{"name": "a", "enabled": True}, {"name": "b", "enabled": True}])
    alert_list.put_rules(database.writer, [{"name": "b", "enabled": False, "targets": ["ops"]}])
    (rule,) = database.rows(schema.alert_rules)
    assert (rule.name, rule.enabled, rule.definition["targets"]) == ("b", False, ["ops"])
