"""The shelf keeps answers fresh for who looks at them, and forgets the rest."""

import datetime as dt
import threading

from panel_app.questions import LetterPayload, ReportOf
from panel_app.shelf import MOST_QUESTIONS, Shelf, Watching

NOW = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)
ONE, OTHER = ReportOf("one"), ReportOf("other")


def shelf() -> Shelf:
    return Shelf(lambda: NOW)


def test_a_watched_question_is_due_once_and_its_answer_is_shared() -> None:
    kept = shelf()
    kept.watch(ONE)
    kept.watch(ReportOf("one"))
    assert kept.take(0) == ONE
    assert kept.take(0) is None
    kept.put(ONE, {"a": 1}, 0.25)
    answer = kept.answer(ReportOf("one"))
    assert (answer.value, answer.at, answer.took_s, answer.problem) == ({"a": 1}, NOW, 0.25, "")
    # fresh enough: not asked again
    assert kept.take(0) is None


def test_a_question_nobody_looks_at_is_forgotten_with_its_answer() -> None:
    kept = shelf()
    kept.watch(ONE)
    kept.watch(ONE)
    kept.put(ONE, 1, 0.0)
    kept.unwatch(ONE)
    assert kept.answer(ONE).value == 1
    kept.unwatch(ONE)
    assert kept.asked() == set() and kept.answer(ONE).at is None
    kept.put(ONE, 2, 0.0)
    assert kept.asked() == set()


def test_a_failed_reading_leaves_the_last_value_and_says_why() -> None:
    kept = shelf()
    kept.watch(ONE)
    kept.put(ONE, 1, 0.0)
    kept.put(ONE, None, 0.0, "away")
    answer = kept.answer(ONE)
    assert (answer.value, answer.at, answer.problem) == (1, NOW, "away")
    kept.put(ONE, 2, 0.0)
    assert kept.answer(ONE).problem == ""


def test_a_slow_question_does_not_keep_others_waiting_and_is_asked_seldom() -> None:
    kept = shelf()
    kept.watch(ONE)
    kept.watch(OTHER)
    first = kept.take(0)
    second = kept.take(0)
    assert {first, second} == {ONE, OTHER}
    kept.put(ONE, 1, 1e6)
    assert kept.take(0) is None


def test_there_is_an_end_to_different_questions() -> None:
    kept = shelf()
    assert all(kept.watch(LetterPayload(number)) for number in range(MOST_QUESTIONS))
    assert not kept.watch(ONE)
    assert kept.watch(LetterPayload(0))
    watching = Watching(kept)
    watching.only(ONE)
    assert ONE not in kept.asked()


def test_a_view_lets_go_of_what_it_does_not_look_at_any_more() -> None:
    kept = shelf()
    watching = Watching(kept)
    watching.only(ONE, OTHER)
    assert watching.news() and not watching.news()
    kept.put(OTHER, 5, 0.0)
    assert watching.news() and not watching.news()
    watching.only(OTHER)
    assert kept.asked() == {OTHER} and watching.answer(OTHER).value == 5
    watching.only()
    assert kept.asked() == set()


def test_a_reader_that_waits_is_woken_by_a_question_and_by_the_end() -> None:
    kept = shelf()
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.extend([kept.take(30), kept.take(30)]))
    reader.start()
    kept.watch(ONE)
    # the second wait ends with the shelf
    while not got and reader.is_alive() and kept.answer(ONE).at is None:
        kept.close()
    reader.join(10)
    assert not reader.is_alive() and kept.closed
