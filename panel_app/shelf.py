"""Answers to the questions that open pages ask of the stores, shared by all pages of the process and kept fresh.

Belongs here: which question is due, how old its answer is, how many look at it. Stays out: asking the stores
(``readers``), what an answer means (views). A question that nobody looks at any more is forgotten with its answer.

A server that is down leaves the last answer where it is: its age tells, and ``problem`` says why.
"""

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar, Final

import msgspec

MOST_QUESTIONS: Final = 300
"""Different questions at a time; beyond it a page is told to wait."""
_SHARE_OF_TIME: Final = 10
"""A question that took t seconds is not asked again before this many times t: no page may load a server for long."""


class Question(msgspec.Struct, frozen=True):
    """What a page wants to know; equal questions share one answer. Its values come from allow-lists, never raw."""

    every_s: ClassVar[float] = 5.0
    """How old its answer may become."""


class Answer(msgspec.Struct, frozen=True):
    """The last value that was read, when, how long it took; ``problem`` is why the newest attempt gave none."""

    value: Any = None
    at: dt.datetime | None = None
    took_s: float = 0.0
    problem: str = ""


class _Kept(msgspec.Struct):
    viewers: int = 0
    answer: Answer = Answer()
    asking: bool = False
    due_at: float = 0.0


class Shelf:
    """Every method may be called from any thread; none waits for a server but ``take``, which readers call."""

    def __init__(self, now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)) -> None:
        self._now = now
        self._turn = threading.Condition()
        self._kept: dict[Question, _Kept] = {}
        self._closed = False

    # what sessions ask

    def watch(self, question: Question) -> bool:
        """Want the answer from now on; balanced by ``unwatch``. False: too many different questions are asked."""
        with self._turn:
            if question not in self._kept and len(self._kept) >= MOST_QUESTIONS:
                return False
            self._kept.setdefault(question, _Kept()).viewers += 1
            self._turn.notify()
            return True

    def unwatch(self, question: Question) -> None:
        """Want it no more; the last viewer frees it."""
        with self._turn:
            kept = self._kept.get(question)
            if kept is None:
                return
            kept.viewers -= 1
            if kept.viewers <= 0:
                del self._kept[question]

    def answer(self, question: Question) -> Answer:
        """Return what is known; an answer without ``at`` has no value yet."""
        with self._turn:
            kept = self._kept.get(question)
            return Answer() if kept is None else kept.answer

    def asked(self) -> set[Question]:
        """Return the questions that somebody looks at."""
        with self._turn:
            return set(self._kept)

    # what readers do

    def take(self, timeout_s: float) -> Question | None:
        """Return the question that is due for longest, or None after a while; ``put`` must follow."""
        limit = time.monotonic() + timeout_s
        with self._turn:
            while not self._closed:
                now = time.monotonic()
                waiting = [(kept.due_at, number, question) for number, (question, kept) in self._waiting()]
                due_at, _, question = min(waiting, default=(limit, 0, None))
                if question is not None and due_at <= now:
                    self._kept[question].asking = True
                    return question
                if now >= limit:
                    return None
                self._turn.wait(min(due_at, limit) - now)
            return None

    def _waiting(self) -> list[tuple[int, tuple[Question, _Kept]]]:
        return [(number, pair) for number, pair in enumerate(self._kept.items()) if not pair[1].asking]

    def put(self, question: Question, value: Any, took_s: float, problem: str = "") -> None:
        """Take an answer; with a ``problem`` the value before it stays."""
        with self._turn:
            kept = self._kept.get(question)
            if kept is None:
                return
            if problem:
                kept.answer = msgspec.structs.replace(kept.answer, problem=problem)
            else:
                kept.answer = Answer(value, self._now(), took_s)
            kept.asking = False
            kept.due_at = time.monotonic() + max(question.every_s, _SHARE_OF_TIME * took_s)
            self._turn.notify()

    @property
    def closed(self) -> bool:
        """Whether readers were let go."""
        return self._closed

    def close(self) -> None:
        """Let readers go."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()


class Watching:
    """The questions one view looks at: what is no longer among them is let go."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._questions: list[Question] = []
        self._seen: dict[Question, Answer] = {}

    def only(self, *questions: Question) -> None:
        """Look at these questions and no other."""
        before, self._questions = self._questions, []
        for question in dict.fromkeys(questions):
            if question in before or self._shelf.watch(question):
                self._questions.append(question)
        for question in before:
            if question not in self._questions:
                self._shelf.unwatch(question)
                self._seen.pop(question, None)

    def news(self) -> bool:
        """Tell whether an answer changed since the last call."""
        answers = {question: self._shelf.answer(question) for question in self._questions}
        changed = any(self._seen.get(question) is not answer for question, answer in answers.items())
        self._seen = answers
        return changed

    def answer(self, question: Question) -> Answer:
        """Return what is known."""
        return self._shelf.answer(question)
