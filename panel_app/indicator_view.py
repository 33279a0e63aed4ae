"""The view of key indicators: measures by instrument, sector or class and period, from documents or SQL, as files too.

Belongs here: panes and widgets of this view. Stays out: measuring (``indicator_table``), files (``export``,
``picture``), reading (``readers``).
"""

import datetime as dt
import io
from collections.abc import Callable, Sequence
from typing import Any, Final

from panel_app import charts, export, picture, tables
from panel_app import indicator_table as measures
from panel_app.answers import PLAIN_TOGGLES, AnswerView, chosen, column, html, pmui, put
from panel_app.board import Badge
from panel_app.data_store import DataStore
from panel_app.questions import Indicators, IndicatorsAnswer, Source
from panel_app.shelf import Answer, Question
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.period_lines import Grouping

_MOST_BARS: Final = 30
_NOTHING: Final = "no settled session yet"
Maker = Callable[[IndicatorsAnswer | None], bytes]
"""Makes a file of what is shown; None: nothing is yet."""


class IndicatorView(AnswerView):
    """One viewer's table of measures."""

    def __init__(self, store: DataStore) -> None:
        super().__init__(store)
        self._source, self._grouping, self._kind, self._period = (
            Source.DOCUMENTS,
            Grouping.INSTRUMENT,
            PeriodKind.YEAR,
            "",
        )
        self._periods: tuple[str, ...] = ()
        self._shown: IndicatorsAnswer | None = None
        self._shown_at: dt.datetime | None = None
        self._settling = False
        self._by = _toggles(list(Grouping), self._grouping)
        self._of = _toggles(list(PeriodKind), self._kind)
        self._from = _toggles(list(Source), self._source)
        self._which = pmui.Select(label="Period", options=[], size="small", width=140, margin=(5, 10, 5, 0))
        for widget in (self._by, self._of, self._from, self._which):
            widget.param.watch(self._chosen, "value")
        files = (
            self._download("CSV", "csv", _of_records(export.as_csv)),
            self._download("Excel", "xlsx", _of_records(export.as_xlsx)),
            self._download("PNG", "png", self._picture),
        )
        self.controls = (self._which, self._by, self._of, self._from, *files)
        self._age, self._proof, self._table, self._legend = html(), html(), html(), html(_legend())
        self._chart = html()
        self.body = column(self._age, self._table, self._chart, self._proof, self._legend)

    def questions(self) -> Sequence[Question]:
        """Return what is asked: the same table from both places."""
        return tuple(self._question(source) for source in Source)

    def draw(self) -> None:
        """Draw the table of the chosen source, and the proof that both say the same."""
        answer = self._watching.answer(self._question(self._source))
        found: IndicatorsAnswer | None = answer.value
        if found is not None and found is not self._shown:
            self._shown, self._shown_at = found, answer.at
            self._fill_periods(found)
            put(self._table, _table(found))
            self._draw_chart(found)
        put(self._proof, proof({source: self._watching.answer(self._question(source)) for source in Source}))

    def draw_ages(self, now: dt.datetime) -> None:
        """Say how old the table is."""
        asked = self._question(self._source)
        put(self._age, tables.age_line(f"indicators from {self._source.value}", self._watching.answer(asked), now))

    def _question(self, source: Source) -> Indicators:
        return Indicators(source, self._grouping, self._kind, self._period)

    def _fill_periods(self, found: IndicatorsAnswer) -> None:
        self._settling = True
        try:
            self._periods = found.periods
            self._which.param.update(options=list(found.periods), value=found.period or None)
        finally:
            self._settling = False

    def _draw_chart(self, found: IndicatorsAnswer) -> None:
        bars = _bars(found)
        title = f"<h3>{tables.inline(_bars_title(found))}</h3>" if bars else ""
        put(self._chart, title + charts.bars_by_name(bars))

    def _chosen(self, event: Any) -> None:
        """Take what was chosen if it is one of the options; anything else leaves the view as it is."""
        if self._settling:
            return
        before = (self._source, self._grouping, self._kind, self._period)
        self._source = Source(chosen(self._from, list(Source), self._source))
        self._grouping = Grouping(chosen(self._by, list(Grouping), self._grouping))
        self._kind = PeriodKind(chosen(self._of, list(PeriodKind), self._kind))
        kept = chosen(self._which, self._periods, self._period)
        self._period = kept if self._kind is before[2] else ""
        if (self._source, self._grouping, self._kind, self._period) != before and self._in_sight:
            self._shown = None
            self.ask()

    def _download(self, label: str, ending: str, make: Maker) -> Any:
        made = pmui.FileDownload(
            callback=lambda: io.BytesIO(make(self._shown)),
            filename=f"streamlake-indicators.{ending}",
            label=label,
            size="small",
            margin=(5, 4),
        )
        # given at once it would warn of its own default
        made.variant = "outlined"
        return made

    def _picture(self, found: IndicatorsAnswer | None) -> bytes:
        if found is None:
            return picture.as_png("Key indicators", "not read yet", _head(), [])
        read = f", as of {self._shown_at:%Y-%m-%d %H:%M} UTC" if self._shown_at else ""
        note = f"by {self._grouping.value}, from {found.how.partition(',')[0]}{read}" if found.lines else _NOTHING
        rows = [measures.cells(line) for line in found.lines]
        return picture.as_png(_title(found), note, _head(), rows, _bars_title(found), _bars(found))


def _of_records(make: Callable[[Sequence[str], Sequence[Sequence[Any]]], bytes]) -> Maker:
    def of(found: IndicatorsAnswer | None) -> bytes:
        return make(*(measures.records(found.lines, found.period) if found else measures.records((), "")))

    return of


def proof(answers: dict[Source, Answer]) -> str:
    """Return both times side by side, and whether the two tables are the same."""
    found = {source: answer.value for source, answer in answers.items()}
    rows = [
        (
            source.value,
            "–" if value is None else tables.seconds(value.read_s),
            "–" if value is None else tables.seconds(value.measured_s),
            answers[source].problem or ("loading" if value is None else value.how),
        )
        for source, value in found.items()
    ]
    shown = tables.table(("source", "read", "measured", "how"), rows, last=1)
    one, other = found[Source.DOCUMENTS], found[Source.SQL]
    if one is None or other is None:
        return tables.section("Cache proof", shown, note="the same table from both, once both have answered")
    apart = measures.differences(one.lines, other.lines) if one.period == other.period else ["another newest period"]
    word = Badge("ok", "same table from both") if not apart else Badge("warn", f"{len(apart)} differences")
    factor = other.read_s / one.read_s if one.read_s > 0 else 0.0
    said = f"reading the documents took 1/{factor:.1f} of the time of SQL" if factor > 1 else "SQL was read as quickly"
    more = tables.bullets(apart[:10])
    return tables.section("Cache proof", f"<p>{tables.badge(word)} {tables.inline(said)}</p>", shown, more)


def _title(found: IndicatorsAnswer) -> str:
    return f"Key indicators, {found.period}" if found.period else "Key indicators"


def _head() -> tuple[str, ...]:
    return ("", *(one.name for one in measures.COLUMNS))


def _table(found: IndicatorsAnswer) -> str:
    shown = tables.table(_head(), [measures.cells(line) for line in found.lines], empty=_NOTHING)
    return tables.section(_title(found), shown)


def _bars_title(found: IndicatorsAnswer) -> str:
    return f"Adjusted return, {found.period}"


def _bars(found: IndicatorsAnswer) -> list[charts.NamedBar]:
    values = [(one.subject, one.measures.period_return) for one in found.lines]
    return [
        charts.NamedBar(name, value, f"{value:+.1%}", charts.INSIDE if value >= 0 else charts.OUTSIDE)
        for name, value in values[:_MOST_BARS]
        if value is not None
    ]


def _legend() -> str:
    pairs = [(one.name, one.meaning) for one in measures.COLUMNS]
    return tables.details("what the columns mean", tables.facts(pairs))


def _toggles(options: list[Any], value: Any) -> Any:
    names = [option.value for option in options]
    return pmui.RadioButtonGroup(options=names, value=value.value, size="small", margin=(5, 10, 5, 0), sx=PLAIN_TOGGLES)
