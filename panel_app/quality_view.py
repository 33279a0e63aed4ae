"""The view of quality and operations: servers, lag, latency, counts, dead letters; reading only.

Belongs here: panes and widgets of this view. Stays out: words and tables (``quality_tables``), reading (``readers``).
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any

from panel_app import quality_tables as words
from panel_app import tables
from panel_app.answers import PLAIN_TOGGLES, AnswerView, chosen, column, html, pick_table, pmui, put
from panel_app.data_store import DataStore
from panel_app.questions import Counts, DeadLetters, LetterPayload, Operations
from panel_app.shelf import Question
from streamlake_assets.stores.dead_letters import STATES, Letter
from streamlake_assets.stores.page_quality import percentiles

COUNTS = Counts()
OPERATIONS = Operations()


class QualityView(AnswerView):
    """One viewer's look at how the chain is doing."""

    def __init__(self, store: DataStore) -> None:
        super().__init__(store)
        self._state = STATES[0]
        self._picked: int | None = None
        self._letters_shown: dict[int, Letter] = {}
        self._choice = pmui.RadioButtonGroup(
            options=list(STATES), value=self._state, size="small", margin=(5, 0), sx=PLAIN_TOGGLES
        )
        self._choice.param.watch(self._chosen, "value")
        self._age, self._counts_age, self._servers, self._lags = html(), html(), html(), html()
        self._processes, self._latency, self._counts = html(), html(), html()
        self._dead, self._letter, self._recorded = html(), html(), html()
        self._letters = pick_table()
        self._letters.param.watch(self._letter_picked, "picked")
        self.body = column(
            self._age,
            self._servers,
            self._processes,
            self._latency,
            self._lags,
            self._counts_age,
            self._counts,
            self._dead,
            self._choice,
            self._letter,
            self._letters,
            self._recorded,
        )

    def questions(self) -> Sequence[Question]:
        """Return what is asked."""
        payload = [] if self._picked is None else [LetterPayload(self._picked)]
        return (OPERATIONS, COUNTS, DeadLetters(self._state), *payload)

    def draw(self) -> None:
        """Draw what is known."""
        counts = self._watching.answer(COUNTS)
        if counts.at is not None:
            put(self._counts, words.counts(counts.value))
        dead = self._watching.answer(DeadLetters(self._state))
        if dead.at is not None:
            self._letters_shown = {letter.id: letter for letter in dead.value.letters}
            put(self._dead, words.dead_summary(dead.value))
            put(self._letters, words.letters(dead.value, self._picked))
        letter = self._letters_shown.get(self._picked) if self._picked is not None else None
        if letter is None:
            put(self._letter, "")
        else:
            answer = self._watching.answer(LetterPayload(letter.id))
            if answer.at is not None:
                put(self._letter, words.letter_page(letter, answer.value))
        answer = self._watching.answer(OPERATIONS)
        if answer.at is not None:
            put(self._recorded, words.checks_and_alerts(answer.value))

    def draw_ages(self, now: dt.datetime) -> None:
        """Draw what changes by itself: ages, lag, servers, latency to this process."""
        operations = self._watching.answer(OPERATIONS)
        put(self._age, tables.age_line("operations", operations, now))
        put(self._counts_age, tables.age_line("counts", self._watching.answer(COUNTS), now))
        put(self._servers, words.servers(self._store.servers()))
        put(self._lags, words.lags(self._store.partitions()))
        if operations.at is not None:
            put(self._processes, words.processes(operations.value.heartbeats, now))
            put(self._latency, words.latency(operations.value, percentiles(self._store.to_page()), now))

    def _chosen(self, event: Any) -> None:
        state = chosen(self._choice, STATES, self._state)
        if state != self._state:
            self._state, self._picked = state, None
            self._letters.picked = ""
            self._letters_shown = {}
            if self._in_sight:
                self.ask()

    def _letter_picked(self, event: Any) -> None:
        number = int(event.new) if event.new.isascii() and event.new.isdigit() and len(event.new) < 19 else None
        if number in self._letters_shown and number != self._picked and self._in_sight:
            self._picked = number
            self.ask()
