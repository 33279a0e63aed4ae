"""Actions as HTML: who is logged in, the inbox of alerts, what was asked for, and the button beside a row.

Belongs here: words and cells out of answers. Stays out: taking a press (``quality_view``), who may act (``actions``).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote

from panel_app import tables
from panel_app.actions import Wish
from panel_app.login import LOG_IN_FIRST, LOGIN, LOGOUT
from panel_app.serving import PATH
from panel_app.tables import Cell
from streamlake_assets.stores.commands import SUBJECT, Command, State, Verb
from streamlake_assets.stores.page_quality import OpenAlert

LATE_S: Final = 15.0
"""A command that waits longer is not being carried out."""
_MOST_TEXT: Final = 300
_SHOWN: Final = 20
_TONES: Final = {State.ASKED: "quiet", State.DONE: "ok", State.FAILED: "bad"}
_WORDS: Final = {
    Verb.REPLAY.value: "replay dead letter",
    Verb.ACKNOWLEDGE.value: "acknowledge alert",
    Verb.PAUSE.value: "pause replay",
    Verb.START.value: "start replay",
    Verb.PACE.value: "replay sessions a minute:",
}
_STATE_TONES: Final = {"error": "bad", "crashed": "bad", "warn": "warn"}

Target = tuple[str, int]
"""(verb, number) of what can be asked for."""


class Told(NamedTuple):
    """What is known of the newest time something was asked for; ``open``: it is on its way."""

    text: str
    tone: str
    open: bool


def login_line(off: str, user: str, refusal: str, view: str) -> str:
    """Return who acts here, and how somebody else may.

    Args:
        off: why nobody may act; empty: somebody may.
        user: who is logged in; empty: nobody.
        refusal: why this user may not act; empty: he may.
        view: name of the view that a login leads back to.
    """
    if off:
        return tables.paragraph(off, "small quiet")
    if not user:
        to = f".{LOGIN}?next={quote(f'{PATH}?view={view}', safe='')}"
        return f'<p class="small">{tables.inline(LOG_IN_FIRST)} <a class="login" href="{to}">Log in</a></p>'
    said = refusal or f"You act as {user}."
    return f'<p class="small">{tables.inline(said)} <a class="logout" href=".{LOGOUT}">Log out</a></p>'


def told(commands: Sequence[Command], wishes: Mapping[Target, Wish], now: dt.datetime) -> dict[Target, Told]:
    """Return what is known of each target that was asked for: in the table, or by this viewer a moment ago.

    Args:
        commands: the newest first.
        wishes: of this viewer that are not in the table.
        now: what ages are counted from.
    """
    found: dict[Target, Told] = {}
    for one in reversed(commands):
        number = _number(one)
        if number is not None:
            found[one.verb, number] = _told(one, now)
    for target, wish in wishes.items():
        found[target] = Told(wish.problem, "bad", False) if wish.problem else Told("asking", "quiet", True)
    return found


def _told(one: Command, now: dt.datetime) -> Told:
    if one.state is not State.ASKED:
        return Told(f"{one.state.value}: {one.result or ''}", _TONES[one.state], False)
    late = (now - one.requested_at).total_seconds() > LATE_S
    more = ", and nothing has answered: does the process alerts run?" if late else ""
    return Told(f"asked by {one.requested_by}{more}", "warn" if late else "quiet", True)


def _number(one: Command) -> int | None:
    """Return the number a command is about; None where there is no such one, since anything may have been asked."""
    given: object = one.arguments
    if one.verb not in _WORDS or not isinstance(given, dict):
        return None
    number = given.get(SUBJECT[Verb(one.verb)])
    return number if isinstance(number, int) else None


def button(label: str, target: Target, known: Told | None, refusal: str) -> Cell:
    """Return the button that asks for something, or one that cannot be pressed and says why."""
    if refusal:
        return Cell(label, off=refusal)
    if known is not None and known.open:
        return Cell(label, off=known.text)
    return Cell(label, pick=f"{target[0]}:{target[1]}")


def beside(known: Told | None) -> Cell:
    """Return what is known of a target, to stand beside its button."""
    return Cell("") if known is None else Cell(known.text[:_MOST_TEXT], known.tone)


def target_of(pressed: str) -> Target | None:
    """Return what a pressed button asks for; None: it is no such button. A browser may send anything."""
    verb, _, number = pressed.partition(":")
    if verb not in _WORDS or not number.isascii() or not number.isdigit() or len(number) > 18:
        return None
    return verb, int(number)


def inbox(alerts: Sequence[OpenAlert], known: Mapping[Target, Told], refusal: str) -> str:
    """Return what is not well now, each with who has seen it or a button to say so."""
    rows = []
    for one in alerts:
        target = (Verb.ACKNOWLEDGE.value, one.id)
        state = known.get(target)
        press = Cell("") if one.acked_by else button("Acknowledge", target, state, refusal)
        rows.append(
            (
                Cell(one.state, _STATE_TONES.get(one.state, "quiet")),
                tables.moment(one.since),
                one.subject,
                one.body[:_MOST_TEXT],
                Cell(f"seen by {one.acked_by}", "quiet") if one.acked_by else beside(state),
                press,
            )
        )
    head = ("state", "since", "alert", "message", "seen", "")
    return tables.section("Alerts inbox", tables.table(head, rows, text=6, empty="nothing is wrong that was seen"))


def asked(commands: Sequence[Command]) -> str:
    """Return what was asked for lately, by whom, and what became of it."""
    rows = [
        (
            tables.moment(one.requested_at),
            one.requested_by,
            f"{_WORDS.get(one.verb, one.verb)} {_number(one) or ''}",
            Cell(one.state.value, _TONES[one.state]),
            one.result or "",
        )
        for one in commands[:_SHOWN]
    ]
    head = ("asked at", "by", "what", "state", "what became of it")
    return tables.section("Actions", tables.table(head, rows, text=5, empty="nothing was asked for yet"))
