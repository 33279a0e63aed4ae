from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from streamlake_assets.market import quality
from streamlake_assets.market.session_documents import SessionDocument, session_document
from streamlake_assets.market.types import Instrument, Interval
from streamlake_assets_tests.bars import SESSION
from streamlake_assets_tests.unit.test_session_documents import one


def document(symbol: str = "AAPL", price: str = "10") -> SessionDocument:
    return session_document(
        Instrument(symbol, "XNYS"), SESSION, Interval.M5, [one(0, price), one(1, price)], True
    )._replace(synthetic=True)


def daily(price: str = "10", volume: str | None = "200") -> dict[str, Any]:
    prices = dict.fromkeys(("open", "high", "low", "close"), Decimal(price))
    return {**prices, "volume": None if volume is None else Decimal(volume)}


def test_documents_that_equal_their_daily_bars_pass() -> None:
    found = quality.documents_equal_daily([document()], {document().key: daily("10.0000000000")})
    assert found.passed and found.facts["compared"] == 1


@pytest.mark.parametrize("bar", [daily("10.0000000001"), daily(volume="201"), daily(volume=None)])
def test_one_different_number_is_found_and_named(bar: dict[str, Any]) -> None:
    found = quality.documents_equal_daily([document("MSFT"), document()], {document().key: bar})
    assert not found.passed
    assert found.facts["different"] == 1 and found.facts["first_different"] == [document().key]


def test_a_session_without_a_daily_bar_is_not_compared() -> None:
    found = quality.documents_equal_daily([document()], {})
    assert found.passed and found.facts["compared"] == 0


def test_a_session_that_is_still_open_is_not_compared() -> None:
    found = quality.documents_equal_daily([document()._replace(complete=False)], {document().key: daily("11")})
    assert found.passed and found.facts["compared"] == 0


def test_real_intraday_bars_may_differ_from_their_daily_bar() -> None:
    real = document()._replace(synthetic=False)
    found = quality.documents_equal_daily([real], {real.key: daily("11")})
    assert found.passed and found.facts["real_intraday_apart"] == 1


def test_a_session_without_a_document_is_named() -> None:
    assert quality.documents_cover(["a", "b", "c"], ["a", "b"]).passed
    found = quality.documents_cover(["a"], ["a", "c", "b"])
    assert not found.passed and found.facts == {"missing": 2, "first": ["b", "c"]}


@pytest.mark.parametrize(("messages", "dead", "passed"), [(100, 5, True), (100, 6, False), (0, 0, True), (1, 1, False)])
def test_a_few_dead_letters_pass_and_many_do_not(messages: int, dead: int, passed: bool) -> None:
    assert quality.dead_letter_rate(messages, dead).passed is passed


@pytest.mark.parametrize(("lag", "passed"), [(0, True), (10_000, True), (10_001, False)])
def test_a_consumer_far_behind_does_not_keep_up(lag: int, passed: bool) -> None:
    assert quality.keeps_up(lag).passed is passed


@pytest.mark.parametrize(("age", "passed"), [(None, False), (0.0, True), (60.0, True), (60.1, False)])
def test_a_process_without_a_recent_heartbeat_is_not_alive(age: float | None, passed: bool) -> None:
    assert quality.is_alive(age).passed is passed


@pytest.mark.parametrize(
    ("covered", "scores", "passed"),
    [(90, 100, True), (80, 100, True), (79, 100, False), (98, 100, False), (0, 99, True), (0, 0, True)],
)
def test_intervals_are_judged_only_over_many_scores(covered: int, scores: int, passed: bool) -> None:
    found = quality.interval_coverage([True] * covered + [False] * (scores - covered))
    assert found.passed is passed
    assert found.facts["scores"] == scores


def test_a_skill_too_good_to_be_true_is_named() -> None:
    assert quality.skill_is_plausible({"a": 0.5, "b": -3.0}).passed
    assert quality.skill_is_plausible({}).passed
    found = quality.skill_is_plausible({"a": 0.51, "b": 0.06})
    assert not found.passed and found.facts["suspicious"] == ["a"]


COUNTED = quality.PartitionCount(
    topic="t", partition=1, first_offset=3, batches_end=12, stored_offset=12, offsets=9, messages=8, new=4, changed=1,
    same=1, older=1, dead=1, versions=5, low=3, high=20,
)  # fmt: skip


def test_a_partition_that_adds_up_says_what_waits_and_what_was_no_message() -> None:
    assert quality.partition_imbalances(COUNTED) == []
    assert (COUNTED.waiting, COUNTED.no_messages) == (8, 1)
    assert replace(COUNTED, high=None).waiting is None
    assert quality.partition_imbalances(replace(COUNTED, low=None, high=None)) == []
    verdict = quality.ledger_balances([COUNTED, COUNTED], [])
    assert verdict.passed
    assert (verdict.facts["messages"], verdict.facts["waiting"]) == (16, 16)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"stored_offset": 15}, "t[1] offsets 12..14: no batch record"),
        ({"stored_offset": 10}, "t[1] offsets 10..11: batch records beyond the stored offset"),
        ({"high": 11}, "t[1] offsets 11..11: stored, beyond the end of the topic"),
        ({"low": 1}, "t[1] offsets 1..2: on the topic, before the first batch record"),
        ({"new": 5}, "t[1] offsets 3..11: messages are not new + changed + same + older + dead"),
    ],
)
def test_a_partition_that_does_not_add_up_is_named_with_its_offsets(changes: dict[str, int], told: str) -> None:
    (found,) = quality.partition_imbalances(replace(COUNTED, **changes))
    assert str(found).startswith(told)
    verdict = quality.ledger_balances([COUNTED], [found])
    assert not verdict.passed
    assert told in verdict.text
    assert verdict.facts["imbalances"] == 1
