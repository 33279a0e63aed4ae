"""The view of quality and operations: servers, lag, latency, counts, dead letters, alerts; what one may do about them.

Belongs here: panes and widgets of this view. Stays out: words and tables (``quality_tables``, ``action_tables``),
reading (``readers``), who may act (``actions``).
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from panel_app import action_tables, replay_tables, tables
from panel_app import quality_tables as words
from panel_app.action_tables import Target, Told
from panel_app.actions import Wish
from panel_app.answers import PLAIN_TOGGLES, AnswerView, chosen, column, contents, html, pick_table, pmui, put
from panel_app.data_store import DataStore
from panel_app.questions import Asked, Counts, DeadLetters, Inbox, LetterPayload, Operations, ReplayNow
from panel_app.selection import ViewName
from panel_app.shelf import Question
from panel_app.viewer import session_user
from streamlake_assets.errors import UsageError
from streamlake_assets.stores.commands import Verb
from streamlake_assets.stores.dead_letters import STATES, Letter
from streamlake_assets.stores.page_quality import percentiles

COUNTS = Counts()
OPERATIONS = Operations()
ASKED = Asked()
INBOX = Inbox()
REPLAY = ReplayNow()
SECTIONS = (
    *("Replay", "Alerts inbox", "Servers", "Processes", "Latency by hop", "Lag by partition", "Count ledger"),
    *("Dead letters", "Actions", "Checks", "Alerts"),
)
"""Titles in the order of the view."""


class QualityView(AnswerView):
    """One viewer's look at how the chain is doing.

    Args:
        store: of this server process.
        who: tells who is logged in in the current session; asked again at every press.
    """

    def __init__(self, store: DataStore, who: Callable[[], str] = session_user) -> None:
        super().__init__(store)
        self._who = who
        self._wishes: dict[Target, Wish] = {}
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
        self._login, self._asked = html(), html()
        self._inbox = pick_table()
        self._inbox.param.watch(self._alert_picked, "picked")
        self._replay = pick_table()
        self._replay.param.watch(self._replay_picked, "picked")
        self.body = column(
            self._age,
            contents(*SECTIONS),
            self._login,
            self._replay,
            self._inbox,
            self._servers,
            self._processes,
            self._latency,
            self._lags,
            self._counts_age,
            self._counts,
            self._dead,
            self._choice,
            self._letters,
            self._letter,
            self._asked,
            self._recorded,
        )

    def questions(self) -> Sequence[Question]:
        """Return what is asked."""
        payload = [] if self._picked is None else [LetterPayload(self._picked)]
        return (OPERATIONS, COUNTS, ASKED, INBOX, REPLAY, DeadLetters(self._state), *payload)

    def draw(self) -> None:
        """Draw what is known."""
        user = self._who()
        refusal = self._store.actions.refusal(user)
        put(self._login, action_tables.login_line(self._store.actions.off, user, refusal, ViewName.QUALITY.value))
        known = self._told()
        counts = self._watching.answer(COUNTS)
        if counts.at is not None:
            put(self._counts, words.counts(counts.value))
        dead = self._watching.answer(DeadLetters(self._state))
        if dead.at is not None:
            self._letters_shown = {letter.id: letter for letter in dead.value.letters}
            put(self._dead, words.dead_summary(dead.value))
            put(self._letters, words.letters(dead.value, self._picked, self._replays(known, refusal)))
        letter = self._letters_shown.get(self._picked) if self._picked is not None else None
        if letter is None:
            put(self._letter, "")
        else:
            answer = self._watching.answer(LetterPayload(letter.id))
            if answer.at is not None:
                put(self._letter, words.letter_page(letter, answer.value, by_button=not refusal))
        answer = self._watching.answer(OPERATIONS)
        if answer.at is not None:
            put(self._recorded, words.checks_and_alerts(answer.value))
        inbox = self._watching.answer(INBOX)
        if inbox.at is not None:
            put(self._inbox, action_tables.inbox(inbox.value, known, refusal))
        replay = self._watching.answer(REPLAY)
        if replay.at is not None:
            put(self._replay, replay_tables.control(replay.value, known, refusal, self._store.now()))
        asked = self._watching.answer(ASKED)
        if asked.at is not None:
            put(self._asked, action_tables.asked(asked.value))

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

    def _told(self) -> dict[Target, Told]:
        commands = self._watching.answer(ASKED).value or []
        written = {one.request for one in commands}
        self._wishes = {target: wish for target, wish in self._wishes.items() if wish.request not in written}
        return action_tables.told(commands, self._wishes, self._store.now())

    def _replays(self, known: dict[Target, Told], refusal: str) -> dict[int, tuple[Any, Any]] | None:
        if self._state != STATES[0]:
            return None
        found = {}
        for number in self._letters_shown:
            target = (Verb.REPLAY.value, number)
            told = known.get(target)
            found[number] = (action_tables.button("Replay", target, told, refusal), action_tables.beside(told))
        return found

    def _letter_picked(self, event: Any) -> None:
        target = action_tables.target_of(event.new)
        if target is not None:
            letter = self._letters_shown.get(target[1])
            shown = letter is not None and letter.state == STATES[0]
            self._press(target, target[0] == Verb.REPLAY and shown)
            self._letters.picked = ""
            return
        number = int(event.new) if event.new.isascii() and event.new.isdigit() and len(event.new) < 19 else None
        if number in self._letters_shown and number != self._picked and self._in_sight:
            self._picked = number
            self.ask()

    def _alert_picked(self, event: Any) -> None:
        target = action_tables.target_of(event.new)
        if target is not None:
            shown = self._watching.answer(INBOX).value or []
            seen = any(one.id == target[1] and not one.acked_by for one in shown)
            self._press(target, target[0] == Verb.ACKNOWLEDGE and seen)
            self._inbox.picked = ""

    def _replay_picked(self, event: Any) -> None:
        target = action_tables.target_of(event.new)
        if target is not None:
            replay = self._watching.answer(REPLAY).value
            self._press(target, target in replay_tables.targets(replay, self._store.now()))
            self._replay.picked = ""

    def _press(self, target: Target, is_shown: bool) -> None:
        """Ask for what was pressed, if it can be pressed here and the session's user may.

        A browser may send anything: a button that was not shown, or one that could not be pressed.
        """
        told = self._told().get(target)
        if not is_shown or not self._in_sight or (told is not None and told.open):
            return
        verb = Verb(target[0])
        try:
            self._wishes[target] = self._store.actions.ask(self._who(), verb, target[1])
        except UsageError as refused:
            self._wishes[target] = Wish("", verb, target[1], "", problem=str(refused))
        self.draw()
