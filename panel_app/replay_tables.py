"""The replay of sessions as HTML: how far it is, and the buttons that pause, start and pace it.

Belongs here: words and cells out of a replay's row. Stays out: taking a press (``quality_view``), who may act
(``actions``), carrying it out (the process of alerts).
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final

from panel_app import tables
from panel_app.action_tables import Target, Told, beside, button
from panel_app.tables import Cell
from streamlake_assets.stores.commands import Verb
from streamlake_assets.stores.replays import Replay

PACES: Final = (6, 30, 60, 120, 300)
"""Sessions a minute that can be chosen."""
SILENT_S: Final = 30.0
"""A replay that was not heard of for longer has died."""
NONE: Final = "No replay was begun: `streamlake demo` replays the last sessions of the real bars."


def targets(replay: Replay | None, now: dt.datetime) -> frozenset[Target]:
    """Return what can be asked of a replay; nothing of one that is over or was not heard of for long."""
    if replay is None or state(replay, now) not in ("running", "paused"):
        return frozenset()
    turn = Verb.START if replay.paused else Verb.PAUSE
    paces = {(Verb.PACE.value, pace) for pace in PACES if pace != replay.per_minute}
    return frozenset({(turn.value, replay.id), *paces})


def state(replay: Replay, now: dt.datetime) -> str:
    """Return ``running``, ``paused``, ``ended`` or ``gone``."""
    if replay.ended_at is not None:
        return "ended"
    if (now - replay.beat_at).total_seconds() > SILENT_S:
        return "gone"
    return "paused" if replay.paused else "running"


def control(replay: Replay | None, known: Mapping[Target, Told], refusal: str, now: dt.datetime) -> str:
    """Return how far the newest replay is, and a button for each thing that can be asked of it."""
    if replay is None:
        return tables.section("Replay", tables.paragraph(NONE, "small quiet"))
    how = state(replay, now)
    progress = f"{replay.revealed} of {replay.total} sessions"
    rows = [
        (
            Cell(how, {"running": "ok", "paused": "warn", "gone": "bad"}.get(how, "quiet")),
            progress if replay.session is None else f"{progress}, the newest {replay.session}",
            _pace(replay.per_minute),
            tables.moment(replay.started_at),
        )
    ]
    text = tables.table(("state", "revealed", "pace", "begun"), rows, text=4)
    possible = targets(replay, now)
    if possible:
        text += _buttons(replay, possible, known, refusal)
    elif how == "gone":
        text += tables.paragraph("It was not heard of for long and does not run any more.", "small quiet")
    return tables.section("Replay", text)


def _buttons(replay: Replay, possible: frozenset[Target], known: Mapping[Target, Told], refusal: str) -> str:
    turn = (Verb.START if replay.paused else Verb.PAUSE).value, replay.id
    cells = [button("Start" if replay.paused else "Pause", turn, known.get(turn), refusal)]
    for pace in PACES:
        target = (Verb.PACE.value, pace)
        if target in possible:
            cells.append(button(f"{pace} a minute", target, known.get(target), refusal))
        else:
            cells.append(Cell(f"{pace} a minute", off="the pace now"))
    newest = [told for target, told in known.items() if target in possible and (told.open or told.tone == "bad")]
    cells.append(beside(newest[-1] if newest else None))
    return tables.strip(cells)


def _pace(per_minute: float | None) -> str:
    return "without pauses" if per_minute is None else f"{per_minute:g} sessions a minute"
