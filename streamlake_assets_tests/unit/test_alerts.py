"""Edges, keys, texts, routes, cooldown, storms, signatures: the pure part of alerts."""

import datetime as dt
import hmac
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlake_assets.market.alert_messages import Alert, Message, compose, sign, verify
from streamlake_assets.market.alert_rules import (
    LONGEST_BACKOFF_S,
    Rule,
    Rules,
    Storm,
    Told,
    Webhook,
    backoff_s,
    bundle,
    hold_until,
    in_seconds,
    is_news,
)
from streamlake_assets.market.alerts import (
    KEY_LENGTH,
    Edge,
    Kind,
    Known,
    Observation,
    Severity,
    State,
    advance,
    alive,
    fitting,
    judge,
    judge_all,
    reminder_key,
    subject_key,
)

NOON = dt.datetime(2024, 1, 2, 12, tzinfo=dt.UTC)
TELLING = [State.PASS, State.WARN, State.ERROR, State.CRASHED]


def seen(state: State, order: int = 1, name: str = "raw/bars:ok") -> Observation:
    return Observation(Kind.CHECK, name, state, order, "text", NOON)


def edges(*states: State) -> list[Edge]:
    return judge_all(Known(), [seen(state, order) for order, state in enumerate(states)])


def alert(number: int, state: str = "raised") -> Alert:
    return Alert(number, "check", "raw/bars:ok", state, "error", f"Failed: no {number}", "3 are wrong", NOON)


def test_a_failure_and_its_repair_are_two_edges_however_often_each_is_seen() -> None:
    found = edges(State.PASS, State.ERROR, State.ERROR, State.ERROR, State.PASS, State.PASS)
    assert [(edge.number, edge.recovered) for edge in found] == [(1, False), (2, True)]
    assert [edge.headline for edge in found] == ["Failed: raw/bars:ok", "Recovered: raw/bars:ok"]


def test_what_was_well_from_the_start_is_no_news_and_what_was_not_is() -> None:
    assert edges(State.PASS) == []
    assert [edge.observation.state for edge in edges(State.WARN)] == [State.WARN]


def test_a_change_of_severity_is_an_edge_and_says_what_was_before() -> None:
    worse, better, well = edges(State.WARN, State.ERROR, State.WARN, State.PASS)[1:]
    assert worse.headline == "Failed (was warning): raw/bars:ok"
    assert (worse.severity, worse.worst) == (Severity.ERROR, Severity.ERROR)
    assert (better.severity, better.worst) == (Severity.WARNING, Severity.ERROR), "who heard of the error hears of it"
    assert (well.severity, well.worst) == (Severity.INFO, Severity.WARNING)


def test_a_crash_is_told_apart_from_a_failure_and_a_skipped_check_says_nothing() -> None:
    assert [edge.observation.state for edge in edges(State.ERROR, State.SKIPPED, State.CRASHED, State.SKIPPED)] == [
        State.ERROR,
        State.CRASHED,
    ]
    assert advance(Known(State.ERROR, 3, 1), seen(State.SKIPPED, 4)) == Known(State.ERROR, 4, 1)


def test_an_older_observation_says_nothing() -> None:
    known = Known(State.PASS, order=5, edges=2)
    assert judge(known, seen(State.ERROR, 5)) is judge(known, seen(State.ERROR, 4)) is None
    assert judge(known, seen(State.ERROR, 6)) is not None
    assert advance(known, seen(State.ERROR, 4)) == known


@given(st.lists(st.sampled_from(list(State)), max_size=30), st.integers(0, 30))
def test_edges_alternate_are_numbered_and_do_not_depend_on_where_looking_was_interrupted(
    states: list[State], cut: int
) -> None:
    observations = [seen(state, order) for order, state in enumerate(states)]
    found = judge_all(Known(), observations)
    assert [edge.number for edge in found] == list(range(1, len(found) + 1))
    assert all(one.observation.state is two.before for one, two in pairwise(found))
    known = Known()
    for one in observations[:cut]:
        known = advance(known, one)
    # a second look sees some of it again
    assert judge_all(known, observations[max(0, cut - 3) :]) == found[known.edges :]


def test_keys_fit_the_index_and_stay_different() -> None:
    long = "a" * 300
    assert len(subject_key(Kind.CHECK, long)) < KEY_LENGTH
    assert fitting(long) != fitting(long + "b")
    (edge,) = judge_all(Known(), [seen(State.ERROR, name=long)])
    assert len(edge.dedupe_key) <= KEY_LENGTH
    assert edge.dedupe_key.endswith("#1")
    assert len({edge.dedupe_key, reminder_key(edge.observation.subject, 1, 1), reminder_key("x", 1, 2)}) == 3


@pytest.mark.parametrize(("age_s", "state"), [(60.0, State.PASS), (60.1, State.ERROR)])
def test_a_process_is_silent_past_its_limit(age_s: float, state: State) -> None:
    found = alive("consumer", age_s, 60.0, NOON)
    assert (found.state, found.subject) == (state, "heartbeat:consumer")


def rules(**changes: object) -> Rules:
    target = Webhook(name="ops", url="https://x.example", secret="env:X")
    rule = Rule(**{"name": "r", "targets": ("ops",), **changes})  # type: ignore[arg-type]
    return Rules(targets=(target,), rules=(rule,))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"on": (Kind.RUN,)}, False),
        ({"match": ("raw/*",)}, True),
        ({"match": ("models/*",)}, False),
        ({"except_": ("raw/bars:*",)}, False),
        ({"severity": Severity.ERROR}, False),
        ({"enabled": False}, False),
    ],
)
def test_a_rule_wants_what_it_says(changes: dict[str, object], expected: bool) -> None:
    found = rules(**changes).routes(Kind.CHECK, "raw/bars:ok", Severity.WARNING, recovered=False)
    assert bool(found) is expected


def test_a_rule_without_recoveries_wants_none() -> None:
    assert not rules(recovery=False).routes(Kind.CHECK, "x", Severity.ERROR, recovered=True)
    assert rules().routes(Kind.CHECK, "x", Severity.ERROR, recovered=True)


def test_the_first_rule_that_names_a_target_counts_for_it() -> None:
    first = rules(cooldown="5m")
    both = Rules(targets=first.targets, rules=(*first.rules, Rule(name="second", targets=("ops",))))
    assert both.routes(Kind.CHECK, "x", Severity.ERROR, recovered=False)["ops"].name == "r"


def test_a_cooldown_holds_what_is_no_worse_and_neither_what_is_worse_nor_a_recovery() -> None:
    before = Told(recovered=False, severity=Severity.WARNING, at=NOON)
    soon = NOON + dt.timedelta(seconds=10)
    until = NOON + dt.timedelta(seconds=60)
    assert hold_until(Severity.WARNING, False, before, 60, soon) == until
    assert hold_until(Severity.ERROR, False, before, 60, soon) == soon
    assert hold_until(Severity.INFO, True, before, 60, soon) == soon
    assert hold_until(Severity.WARNING, False, None, 60, soon) == soon
    assert hold_until(Severity.WARNING, False, before, 5, soon) == soon


def test_nobody_hears_that_something_is_well_again_of_which_he_heard_nothing_bad() -> None:
    bad, well = (Told(recovered, Severity.ERROR, NOON) for recovered in (False, True))
    assert [is_news(True, last) for last in (None, well, bad)] == [False, False, True]
    assert is_news(False, None)


def test_few_are_sent_one_by_one_and_many_as_one() -> None:
    storm = Storm(messages=3)
    assert bundle([], 0, storm) == []
    assert bundle([1, 2, 3], 0, storm) == [[1], [2], [3]]
    assert bundle([1, 2, 3, 4], 0, storm) == [[1, 2, 3, 4]]
    assert bundle([5, 6], 2, storm) == [[5, 6]]
    assert bundle([7], 4, storm) == [], "the window is full"


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 5))
def test_no_window_holds_more_than_the_messages_and_a_digest_and_nothing_is_lost(
    arrivals: list[int], most: int
) -> None:
    waiting: list[int] = []
    sent_at: list[int] = []
    told: list[int] = []
    number = 0
    for second in range(len(arrivals) + 200):
        for _ in range(arrivals[second] if second < len(arrivals) else 0):
            waiting.append(number := number + 1)
        for message in bundle(waiting, sum(at > second - 60 for at in sent_at), Storm(messages=most)):
            sent_at.append(second)
            told += message
        waiting = [one for one in waiting if one not in told]
        assert sum(at > second - 60 for at in sent_at) <= most + 1
    assert told == list(range(1, number + 1))


def test_tries_get_rarer_up_to_a_limit() -> None:
    assert [backoff_s(n) for n in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert backoff_s(50) == LONGEST_BACKOFF_S
    assert [in_seconds(text) for text in ("60s", "5m", "6h", "2d")] == [60, 300, 21_600, 172_800]


def test_a_message_has_the_same_id_at_every_try_and_another_for_other_alerts() -> None:
    assert compose([alert(1)]).id == compose([alert(1)]).id == "alert-1"
    assert compose([alert(1), alert(2)]).id != compose([alert(1), alert(3)]).id
    assert len(compose([alert(n) for n in range(500)]).id) <= 64, "it fits the column"


def test_a_digest_says_how_many_and_its_json_has_all() -> None:
    message = compose([alert(n, "recovered" if n % 4 == 0 else "raised") for n in range(1, 201)])
    assert message.headline == "[streamlake] 200 alerts: 150 raised, 50 recovered"
    assert len(json.loads(message.body())["alerts"]) == 200
    assert "and 100 more" in message.text


def test_a_headline_is_one_line() -> None:
    evil = Message("x", (alert(1)._replace(headline="a\r\nBcc: everybody@example.com"),))
    assert evil.headline == "[streamlake] a Bcc: everybody@example.com"


def test_a_signature_holds_for_its_secret_body_and_time_alone() -> None:
    body = compose([alert(1)]).body()
    signature = sign("secret", "1700000000", body)
    by_hand = hmac.new(b"key", b"1.{}", "sha256").hexdigest()
    assert sign("key", "1", b"{}") == f"v1={by_hand}"
    assert verify("secret", "1700000000", body, signature, 1700000100)
    assert not verify("other", "1700000000", body, signature, 1700000100)
    assert not verify("secret", "1700000000", body + b" ", signature, 1700000100)
    assert not verify("secret", "1700000001", body, signature, 1700000100)
    assert not verify("secret", "1700000000", body, signature, 1700000301), "a replay of an old message"
    assert not verify("secret", "soon", body, signature, 1700000100)
