"""Small building blocks of HTML: tables, figures with a caption, notes; every text is escaped here.

Belongs here: markup that knows nothing of what it shows. Stays out: facts, the style sheet and the live page's own
markup (``markup``).
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec

from panel_app.board import Badge, age_text
from panel_app.shelf import Answer

_NARROW_COLUMNS: Final = 6
"""Up to so many columns a table is as wide as it needs to be; a wider one takes the whole width."""
_LONG_WORDS: Final = 46


class Cell(msgspec.Struct, frozen=True):
    """A text with a tone (``ok``, ``warn``, ``bad``, ``quiet`` or none).

    With ``pick`` it is a button of that value; with ``off`` one that cannot be pressed, and why.
    """

    text: str
    tone: str = ""
    pick: str = ""
    off: str = ""


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str | Cell]],
    *,
    text: int = 1,
    last: int = 0,
    empty: str = "nothing",
) -> str:
    """Return a table that scrolls sideways in itself.

    Args:
        head: titles of the columns.
        rows: cells, as many in each as titles.
        text: how many columns from the left are words; those between are numbers, at the right.
        last: how many columns from the right are words again.
        empty: what is said when there is no row.
    """
    until = len(head) - last
    body = [_row(row, text, until) for row in rows]
    if not body:
        return f'<p class="quiet">{escape(empty)}</p>'
    titles = "".join(
        f'<th{_kind(place, text, until)} scope="col">{escape(title)}</th>' for place, title in enumerate(head)
    )
    inside = f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    wide = " wide" if len(head) > _NARROW_COLUMNS else ""
    return f'<div class="scroll{wide}" tabindex="0" role="region" aria-label="table">{inside}</div>'


def strip(cells: Iterable[Cell]) -> str:
    """Return cells beside each other, in as many lines as they need."""
    return f'<div class="strip">{"".join(_cell(cell) for cell in cells)}</div>'


def _row(row: Sequence[str | Cell], text: int, until: int) -> str:
    cells = "".join(
        f"<td{_kind(place, text, until) or _length(cell)}>{_cell(cell)}</td>" for place, cell in enumerate(row)
    )
    return f"<tr>{cells}</tr>"


def _length(cell: str | Cell) -> str:
    """A sentence takes several lines; a word never does."""
    words = cell if isinstance(cell, str) else cell.text
    return ' class="long"' if len(words) > _LONG_WORDS else ""


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return escape(cell)
    shown = escape(cell.text)
    if cell.off:
        return f'<button type="button" class="pick" disabled title="{escape(cell.off)}">{shown}</button>'
    if cell.pick:
        return f'<button type="button" class="pick {cell.tone}" data-pick="{escape(cell.pick)}">{shown}</button>'
    return f'<span class="{cell.tone}">{shown}</span>' if cell.tone else shown


def _kind(place: int, text: int, until: int) -> str:
    return ' class="number"' if text <= place < until else ""


def section(title: str, *parts: str, note: str = "") -> str:
    """Return a titled block; ``note`` stands small below the title."""
    said = f'<p class="small quiet">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{said}{''.join(parts)}</section>"


def inline(text: str) -> str:
    """Return text ready to stand inside markup."""
    return escape(text)


def paragraph(text: str, tone: str = "") -> str:
    """Return a paragraph."""
    return f'<p class="{tone}">{escape(text)}</p>' if tone else f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """Return a list of sentences."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def badge(one: Badge) -> str:
    """Return a badge."""
    return f'<span class="badge {one.tone}">{escape(one.text)}</span>'


def cards(shown: Iterable[str]) -> str:
    """Return cards side by side, below each other on a phone."""
    return f'<div class="cards">{"".join(shown)}</div>'


def card(title: str, value: str, small: str = "", badges: Iterable[Badge] = ()) -> str:
    """Return one figure with what it means."""
    head = f"<h3><span>{escape(title)}</span>{''.join(badge(one) for one in badges)}</h3>"
    more = f'<div class="small">{escape(small)}</div>' if small else ""
    return f'<div class="card">{head}<div class="value">{escape(value)}</div>{more}</div>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names with values, one a line."""
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs if value) + "</dl>"
    )


def details(summary: str, inside: str) -> str:
    """Return HTML that is shown when somebody opens it."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def code(text: str) -> str:
    """Return text as it is, in a box that scrolls in itself."""
    return f'<pre class="scroll" tabindex="0">{escape(text)}</pre>'


def age_line(what: str, answer: Answer, now: dt.datetime) -> str:
    """Return how old what is shown is, and why it is not newer."""
    if answer.at is None:
        said = f"{what}: {answer.problem}" if answer.problem else f"{what}: loading"
        return f'<p class="{"notice" if answer.problem else "quiet"} age">{escape(said)}</p>'
    age = age_text(max(0.0, (now - answer.at).total_seconds()))
    if answer.problem:
        return f'<p class="notice age">{escape(f"{what} as of {age} ago: {answer.problem}")}</p>'
    return f'<p class="small quiet age">{escape(f"{what} as of {age} ago, read in {seconds(answer.took_s)}")}</p>'


def seconds(value: float | None) -> str:
    """Return a duration in its fitting unit; None is a dash."""
    if value is None:
        return "–"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms" if value >= 0.0095 else f"{value * 1000:.1f} ms"
    return f"{value:.1f} s" if value < 120 else age_text(value)


def moment(value: dt.datetime | None) -> str:
    """Return a time in UTC to the second; None is a dash."""
    return "–" if value is None else f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
