"""The judge of the fault drill sees what is wrong, the manifest knows what it sent, the report says both."""

import datetime as dt
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from streamlake_assets.drill.cases import all_faults
from streamlake_assets.drill.checker import Batch, Found, Outcome, judge
from streamlake_assets.drill.kills import with_poison
from streamlake_assets.drill.manifest import Manifest, bad_sending, numbered_messages
from streamlake_assets.drill.report import Report, Row
from streamlake_assets.errors import BadRecordError
from streamlake_assets.market.contract import ACTIONS_TOPIC, BARS_TOPIC, decode_action, decode_bar

NOW = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
GOOD = numbered_messages(8)
BAD = [bad_sending(b"S1", b"{"), bad_sending(b"S1", b"{"), bad_sending(None, None)]


def manifest() -> Manifest:
    made = Manifest()
    made.add([*GOOD, *BAD])
    return made


def found() -> Found:
    """What the tables hold when nothing went wrong: nine messages on one topic, two on the other."""
    return Found(
        facts=[message.good for message in GOOD if message.good],
        dead=[(b"S1", b"{"), (b"S1", b"{"), (None, None)],
        batches=[
            Batch(BARS_TOPIC, 0, 0, 4, 4, 4),
            Batch(BARS_TOPIC, 0, 4, 9, 5, 2),
            Batch(ACTIONS_TOPIC, 1, 0, 2, 2, 2),
        ],
        offsets={(BARS_TOPIC, 0): 9, (ACTIONS_TOPIC, 1): 2},
        watermarks={(BARS_TOPIC, 0): 9, (BARS_TOPIC, 1): 0, (ACTIONS_TOPIC, 1): 2},
        versions=8,
        digests={"bars": "a", "dead_letters": "b"},
        reference={"bars": "a", "dead_letters": "b"},
    )


def lose_row(held: Found) -> None:
    held.facts.pop()


def double_key(held: Found) -> None:
    held.facts.append(held.facts[0])


def strange_row(held: Found) -> None:
    held.facts.append(("S9", "XNYS", "1m", "2020-01-01T00:00:00"))


def lose_letter(held: Found) -> None:
    held.dead.remove((b"S1", b"{"))


def other_letter(held: Found) -> None:
    held.dead[-1] = (None, b"")


def letter_twice(held: Found) -> None:
    held.dead.append((None, None))


def gap(held: Found) -> None:
    held.batches.pop(0)


def overlap(held: Found) -> None:
    held.batches[1] = Batch(BARS_TOPIC, 0, 3, 9, 6, 2)


def offset_behind(held: Found) -> None:
    held.offsets[BARS_TOPIC, 0] = 4


def miscounted(held: Found) -> None:
    held.batches[0] = held.batches[0]._replace(messages=3)


def version_too_many(held: Found) -> None:
    held.versions += 1


def other_digest(held: Found) -> None:
    held.digests = {"bars": "a", "dead_letters": "c"}


def test_what_arrived_as_sent_is_in_order() -> None:
    outcome = judge(manifest(), found())
    assert outcome.ok, outcome.problems
    assert (outcome.sent, outcome.lost, outcome.twice) == (11, 0, 0)


@pytest.mark.parametrize(
    ("damage", "lost", "twice", "says"),
    [
        (lose_row, 1, 0, "1 facts are missing"),
        (double_key, 0, 1, "1 facts have more than one row"),
        (strange_row, 0, 0, "1 rows were never sent"),
        (lose_letter, 1, 0, "1 bad messages are not in the dead letters"),
        (other_letter, 1, 1, "1 dead letters are too many"),
        (letter_twice, 0, 1, "1 dead letters are too many"),
        (gap, 0, 0, "4 offsets are in no batch"),
        (overlap, 0, 1, "1 offsets are in more than one batch"),
        (offset_behind, 0, 0, "are not the broker's"),
        (miscounted, 0, 0, "do not hold as many messages as offsets"),
        (version_too_many, 0, 0, "batches tell of 8 versions, the tables hold 9"),
        (other_digest, 0, 0, "digests differ from those of an undisturbed run: dead_letters"),
    ],
)
def test_the_judge_sees(damage: Callable[[Found], None], lost: int, twice: int, says: str) -> None:
    held = found()
    damage(held)
    outcome = judge(manifest(), held)
    assert not outcome.ok
    assert (outcome.lost, outcome.twice) == (lost, twice)
    assert any(says in problem for problem in outcome.problems), outcome.problems


def test_a_key_is_compared_as_far_as_a_dead_letter_keeps_it() -> None:
    sent, held = Manifest(), Found([], [(b"k" * 512, b"{")], [], {}, {}, 0)
    sent.add([bad_sending(b"k" * 600, b"{")])
    assert judge(sent, held).ok


def test_numbered_messages_are_distinct_and_keep_the_contract() -> None:
    messages = numbered_messages(400)
    assert len({message.good for message in messages}) == 400
    decoders = {BARS_TOPIC: decode_bar, ACTIONS_TOPIC: decode_action}
    for message in messages:
        decoders[message.topic](message.value, message.key, NOW)
    assert {message.topic for message in messages} == {BARS_TOPIC, ACTIONS_TOPIC}


def test_poison_breaks_the_contract_and_each_is_another() -> None:
    bad = [message for message in with_poison(2_000, random.Random(3)) if message.good is None]
    assert len({message.value for message in bad}) == len(bad) == 20
    for message in bad:
        with pytest.raises(BadRecordError):
            decode_bar(message.value, message.key, NOW)


def row(number: int, outcome: Outcome) -> Row:
    return Row(number, f"fault {number}", "somewhere", 12.3, outcome)


def report(*rows: Row) -> Report:
    return Report(NOW, False, ["Kafka 4.3.1", "MySQL 9.7"], {"cores": 2}, rows)


GOOD_ROW = row(1, Outcome(sent=12_345, recovery_s=1.26, facts={"kills": 20, "each_s": [1.0, 2.5]}))
BAD_ROW = row(2, Outcome(sent=5, lost=1, problems=["1 facts are missing"]))
IDLE_ROW = row(22, Outcome(not_run="no disk can be mounted"))


def test_a_report_says_what_failed_and_what_was_not_run() -> None:
    made = report(GOOD_ROW, BAD_ROW, IDLE_ROW)
    lines = made.table().splitlines()
    assert lines[0].split() == ["row", "fault", "injected", "where", "sent", "lost", "twice", "recovery", "verdict"]
    assert [line.split()[-1] for line in lines[1:4]] == ["ok", "FAILED", "run"]
    assert "12,345" in lines[1]
    assert "1.3 s" in lines[1]
    assert lines[4:] == ["row 2: 1 facts are missing", "row 22 was not run: no disk can be mounted"]
    assert not made.ok
    assert report(GOOD_ROW, IDLE_ROW).ok, "what cannot be injected here is no failure"


def test_the_forms_of_a_report_agree() -> None:
    made = report(GOOD_ROW, BAD_ROW)
    data: dict[str, Any] = json.loads(json.dumps(made.as_json()))
    assert [(one["row"], one["verdict"], one["lost"]) for one in data["rows"]] == [(1, "ok", 0), (2, "FAILED", 1)]
    assert data["rows"][0]["facts"] == {"kills": 20, "each_s": [1.0, 2.5]}
    page = made.markdown()
    assert "| 1 | fault 1 | somewhere | 12,345 | 0 | 0 | 1.3 s | ok |" in page
    assert "- row 2: 1 facts are missing" in page
    assert "- 1, fault 1: took 12 s, kills 20, each s 1.0, 2.5" in page
    assert "MySQL 9.7" in page


def test_a_drill_without_a_case_proves_nothing() -> None:
    assert not replace(report()).ok


def test_every_row_that_was_asked_for_has_a_case() -> None:
    faults = all_faults()
    assert {one.row for one in faults} == {*range(1, 13), *range(14, 23), 29}
    assert len({(one.row, one.title) for one in faults}) == len(faults)
    assert all(one.run.__doc__ for one in faults)
