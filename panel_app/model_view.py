"""The model view: which engine, parity certificate, what models are worth, famous claims beside honest figures.

Belongs here: the panes of this view and when they are drawn. Stays out: words and tables (``model_tables``), pictures
(``charts``), reading (``readers``).
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Final

from panel_app import charts, tables
from panel_app import model_tables as words
from panel_app.answers import AnswerView, column, disclaimer, html, put
from panel_app.data_store import DataStore
from panel_app.questions import Register, ReportOf
from panel_app.shelf import Question

BENCHMARK: Final = ReportOf("benchmark")
CLAIMS: Final = ReportOf("claims_audit")
VALUE: Final = ReportOf("value")
REGISTER: Final = Register()
_TASKS: Final = ("forest", "linear")


class ModelView(AnswerView):
    """One viewer's look at models and reports."""

    def __init__(self, store: DataStore) -> None:
        super().__init__(store)
        self._age, self._verdict, self._charts, self._after = html(), html(), html(), html()
        self._claims, self._value, self._register = html(), html(), html()
        self._drawn: dict[Question, Any] = {}
        self.body = column(
            self._age,
            self._verdict,
            self._charts,
            self._after,
            self._register,
            self._claims,
            self._value,
            disclaimer(),
        )

    def questions(self) -> Sequence[Question]:
        """Return what is asked: the stored reports and the register."""
        return (BENCHMARK, CLAIMS, VALUE, REGISTER)

    def draw(self) -> None:
        """Draw the parts whose report is another one than before."""
        if self._is_news(BENCHMARK):
            self._draw_benchmark(self._watching.answer(BENCHMARK).value)
        if self._is_news(CLAIMS):
            self._draw_claims(self._watching.answer(CLAIMS).value)
        if self._is_news(VALUE):
            report = self._watching.answer(VALUE).value
            title = "What forecasts are worth in money"
            put(self._value, words.not_made(title) if report is None else words.value(report))
        answer = self._watching.answer(REGISTER)
        if answer.at is not None:
            put(self._register, words.register(answer.value))

    def draw_ages(self, now: dt.datetime) -> None:
        """Say how old the reports are as read."""
        put(self._age, tables.age_line("reports", self._watching.answer(BENCHMARK), now))

    def _is_news(self, question: ReportOf) -> bool:
        answer = self._watching.answer(question)
        if answer.at is None:
            return False
        made = (answer.value or {}).get("made_at", "never")
        if self._drawn.get(question) == made:
            return False
        self._drawn[question] = made
        return True

    def _draw_benchmark(self, report: words.Report | None) -> None:
        if report is None:
            put(self._verdict, words.not_made("Which engine"))
            put(self._after, "")
            put(self._charts, "")
            return
        put(self._verdict, words.verdict(report) + words.certificate(report))
        parts = []
        for task in _TASKS:
            curves = words.curves(report, task)
            if drawn := charts.scaling(curves, "s", words.colours(curves)):
                title = f"{task.capitalize()}: seconds from start to model, by rows; both axes are logarithmic"
                parts.append(f"<h3>{title}</h3>{drawn}")
        peaks = words.peaks(report)
        if bars := [charts.NamedBar(name, value, f"{value:,.0f} MiB", words.colour(name)) for name, value in peaks]:
            title = "<h3>Peak memory of the process and all below it</h3>"
            parts.append(title + charts.bars_by_name(bars))
        put(self._charts, "".join(parts))
        timed = ""
        if report["records"]:
            timed = tables.section("Time, memory, accuracy", words.times(report))
            timed += words.crossovers(report) + words.caps(report)
        put(self._after, timed + words.complexity(report))

    def _draw_claims(self, report: words.Report | None) -> None:
        if report is None:
            put(self._claims, words.not_made("Claims audit"))
            return
        bars = []
        for one in report["claims"]:
            real, honest, name = one["real"], one["honest"], one["id"].replace("_", " ")
            for what, value, each, colour in (
                ("reproduced", real["value"], real, charts.LINES[1]),
                ("honest", honest["skill"], honest, charts.LINES[0]),
            ):
                ends = (each["low"], each["high"])
                bars.append(charts.NamedBar(f"{name}: {what}", value, f"{value:+.4f}", colour, ends))
        put(self._claims, words.claims(report) + charts.bars_by_name(bars))
