"""Why a number is what it is: the model, its data, the documents and the very messages behind one forecast, as HTML.

Belongs here: words and tables of the explanation. Stays out: reading it (``readers``), the view around it.
"""

from collections.abc import Mapping
from typing import Any, Final

from panel_app import tables
from panel_app.questions import WhyAnswer
from panel_app.shelf import Answer
from panel_app.tables import Cell
from streamlake_assets.market.messages import Message
from streamlake_assets.stores.page_ledger import BarBehind

_SHOWN_BARS: Final = 5
_SHOWN_BYTES: Final = 2_000


def why_page(forecast_id: int, answer: Answer) -> str:
    """Return the explanation of a row of the ledger, or why there is none yet."""
    title = f"Why this number: forecast {forecast_id}"
    if answer.value is None:
        said = answer.problem or ("there is no such forecast" if answer.at else "looking it up")
        return tables.section(title, tables.paragraph(said, "notice" if answer.problem else "quiet"))
    found: WhyAnswer = answer.value
    parts = [_model(found), _bars(found), _document(found), _message(found.message)]
    parts += [tables.paragraph(line, "notice") for line in found.missing]
    return tables.section(title, f'<div class="why">{"".join(parts)}</div>')


def _model(found: WhyAnswer) -> str:
    behind, manifest = found.behind, found.behind.manifest
    trained = [str(manifest[name]) for name in ("first_session", "last_session") if name in manifest]
    interval = [manifest.get(name) for name in ("skill", "skill_low", "skill_high")]
    figures = [value for value in interval if isinstance(value, int | float)]
    skill = f"{figures[0]:+.2%}, 95 % between {figures[1]:+.2%} and {figures[2]:+.2%}" if len(figures) == 3 else ""
    pairs = [
        ("model", f"{behind.line.version} ({behind.line.engine})"),
        ("gate", "skill" if behind.line.has_skill else "no skill"),
        ("skill out of fold", skill),
        ("data hash", behind.data_hash),
        ("training rows", f"{manifest['rows']:,}" if isinstance(manifest.get("rows"), int) else ""),
        ("training sessions", " to ".join(trained)),
        ("instruments", _listed(manifest.get("instruments"))),
        ("features", _listed(manifest.get("features"))),
        ("offsets of the training data", _offsets(manifest.get("offsets"))),
        ("trained at", str(manifest.get("trained_at", ""))[:19]),
        ("registered at", tables.moment(behind.registered_at)),
        ("forecast committed at", tables.moment(behind.line.issued_at)),
    ]
    return f"<h3>Model</h3>{tables.facts(pairs)}"


def _bars(found: WhyAnswer) -> str:
    bars = found.behind.bars
    if not bars:
        return "<h3>Bars</h3>" + tables.paragraph("the daily bars it looked back on are not in the table", "quiet")
    places: dict[str, list[int]] = {}
    for bar in bars:
        places.setdefault(f"{bar.topic}[{bar.partition}]", []).append(bar.offset)
    spans = "; ".join(
        f"{place} offsets {min(offsets):,} to {max(offsets):,} ({len(offsets)} messages)"
        for place, offsets in sorted(places.items())
    )
    said = f"The {len(bars)} sessions its features look back on, {bars[-1].session} to {bars[0].session}: {spans}."
    rows = [_bar_row(bar, "") for bar in bars[:_SHOWN_BARS]]
    if found.behind.outcome is not None:
        rows.insert(0, _bar_row(found.behind.outcome, "the outcome"))
    head = ("session", "close", "topic", "partition", "offset", "known from", "source", "version", "")
    return f"<h3>Bars and messages</h3>{tables.paragraph(said)}{tables.table(head, rows, text=3, last=4)}"


def _bar_row(bar: BarBehind, note: str) -> tuple[str | Cell, ...]:
    return (
        bar.session.isoformat(),
        f"{bar.close:,.2f}",
        bar.topic,
        str(bar.partition),
        f"{bar.offset:,}",
        tables.moment(bar.known_from),
        bar.source,
        bar.version_hash[:12],
        Cell(note, "quiet"),
    )


def _document(found: WhyAnswer) -> str:
    document, line = found.document, found.behind.line
    title = "<h3>Document</h3>"
    if document is None:
        return title + tables.paragraph(f"no session document of {line.known_session} yet", "quiet")
    marks = "; ".join(f"{place} up to offset {offset:,}" for place, offset in sorted(document["watermark"].items()))
    pairs = [
        ("session document", str(document["_id"])),
        ("made from", f"{document['bars']} bars of {document['interval']}"),
        ("its messages", marks),
        ("feature bucket", f"{line.instrument}|{line.known_session.year}"),
    ]
    return title + tables.facts(pairs)


def _message(message: Message | None) -> str:
    if message is None:
        return ""
    value = b"" if message.value is None else message.value[:_SHOWN_BYTES]
    said = f"{message.topic}[{message.partition}] offset {message.offset:,}, {tables.moment(message.broker_time)}"
    return f"<h3>The newest of these messages, as it lies on the topic</h3>{tables.paragraph(said)}" + tables.code(
        value.decode("utf-8", "backslashreplace")
    )


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else ""


def _offsets(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{place} {offset}" for place, offset in sorted(values.items()))
