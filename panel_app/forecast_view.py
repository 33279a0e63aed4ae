"""The forecast view: what was said against what happened, live skill, who spoke, and why a number is what it is.

Belongs here: widgets and panes of this view and the words on them. Stays out: reading (``readers``), sums
(``track_record``), pictures (``charts``), the explanation of one row (``why``).
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, Final

from panel_app import charts, tables
from panel_app.answers import (
    PLAIN_TOGGLES,
    AnswerView,
    chosen,
    column,
    disclaimer,
    html,
    pick_table,
    pmui,
    put,
)
from panel_app.board import Badge
from panel_app.data_store import DataStore
from panel_app.questions import LedgerAnswer, LedgerOf, WhyForecast
from panel_app.shelf import Question
from panel_app.tables import Cell
from panel_app.track_record import LEAST_SCORES, TrackRecord, by_quarter, track_record
from panel_app.why import why_page
from streamlake_assets.market.forecasts import BASELINE_ENGINE
from streamlake_assets.market.targets import Target
from streamlake_assets.stores.page_ledger import LedgerLine, SpokeFrom

TARGETS: Final = {"Return (direction)": Target.ADJUSTED_RETURN, "Range (risk)": Target.LOG_RANGE}
SUBJECTS: Final = {Target.ADJUSTED_RETURN: "direction", Target.LOG_RANGE: "risk"}
_SHOWN_LINES: Final = 60
_HEAD: Final = ("session", "said", "interval", "happened", "baseline", "result", "model", "why")


class ForecastView(AnswerView):
    """One viewer's look at the ledger."""

    needs_selection = True

    def __init__(self, store: DataStore) -> None:
        super().__init__(store)
        self._target = Target.LOG_RANGE
        self._picked: int | None = None
        self._shown_ids: tuple[int, ...] = ()
        names = list(TARGETS)
        self._choice = pmui.RadioButtonGroup(
            options=names, value=names[1], size="small", margin=(5, 0), sx=PLAIN_TOGGLES
        )
        self._choice.param.watch(self._chosen, "value")
        self.controls = (self._choice,)
        self._age, self._summary, self._said, self._why, self._coverage, self._reigns = (html() for _ in range(6))
        self._rows = pick_table()
        self._rows.param.watch(self._row_picked, "picked")
        self.body = column(
            self._age,
            self._summary,
            self._said,
            self._why,
            self._rows,
            self._coverage,
            self._reigns,
            disclaimer(),
        )

    def questions(self) -> Sequence[Question]:
        """Return what is asked: the ledger of instrument and target, and the row that was picked."""
        if self._selection is None:
            return ()
        why = [] if self._picked is None else [WhyForecast(self._picked)]
        return (LedgerOf(self._target, self._selection.instrument), *why)

    def draw(self) -> None:
        """Draw all parts from what is known."""
        if self._selection is None:
            return
        answer = self._watching.answer(LedgerOf(self._target, self._selection.instrument)).value
        if answer is None:
            answer = LedgerAnswer((), (), ())
        self._shown_ids = tuple(line.id for line in answer.own[:_SHOWN_LINES])
        put(self._summary, summary(self._target, self._selection.instrument.symbol, answer))
        chart = charts.said_and_happened(said(self._target, list(reversed(answer.own[:_SHOWN_LINES]))))
        put(self._said, tables.section("What was said against what happened", chart))
        put(self._coverage, coverage(answer.all))
        put(self._rows, rows_table(self._target, answer.own[:_SHOWN_LINES], self._picked))
        put(self._reigns, reigns_table(answer.spoke))
        self._draw_why()

    def draw_ages(self, now: dt.datetime) -> None:
        """Say how old the ledger's rows are."""
        if self._selection is not None:
            asked = LedgerOf(self._target, self._selection.instrument)
            put(self._age, tables.age_line("ledger", self._watching.answer(asked), now))

    def _draw_why(self) -> None:
        if self._picked is None:
            put(self._why, "")
            return
        answer = self._watching.answer(WhyForecast(self._picked))
        put(self._why, why_page(self._picked, answer))

    def _chosen(self, event: Any) -> None:
        name = chosen(self._choice, list(TARGETS), "")
        if name and TARGETS[name] is not self._target:
            self._target = TARGETS[name]
            self._picked = None
            self._rows.picked = ""
            if self._in_sight:
                self.ask()

    def _row_picked(self, event: Any) -> None:
        number = int(event.new) if event.new.isascii() and event.new.isdigit() and len(event.new) < 19 else None
        if number in self._shown_ids and number != self._picked and self._in_sight:
            self._picked = number
            self.ask()


def form(target: Target, value: float | None) -> str:
    """Return a value of a target as people read it: natural units are logarithms of ratios, people read per cent."""
    if value is None:
        return "–"
    return f"{math.expm1(value):+.2%}" if target.has_direction else f"{math.expm1(value):.2%}"


def said(target: Target, lines: Sequence[LedgerLine]) -> list[charts.Said]:
    """Return rows of the ledger as the chart takes them, in shares."""
    return [
        charts.Said(
            line.session.isoformat(),
            math.expm1(line.point),
            math.expm1(line.low),
            math.expm1(line.high),
            None if line.realised is None else math.expm1(line.realised),
            bool(line.covered),
            f"said {form(target, line.point)}, happened {form(target, line.realised)}, {_result(line).text}",
        )
        for line in lines
    ]


def coverage(lines: Sequence[LedgerLine]) -> str:
    """Return the share inside the interval by quarter, beside what was promised."""
    nominal = next((line.coverage for line in lines if line.covered is not None), None)
    bars = [
        charts.NamedBar(
            one.name,
            one.share,
            f"{one.share:.0%} of {one.scored:,}{'' if one.scored >= LEAST_SCORES else ', few'}",
            mark=nominal,
        )
        for one in by_quarter(lines)
    ]
    shown = charts.bars_by_name(bars) or tables.paragraph("nothing is scored yet", "quiet")
    return tables.section("Coverage by quarter", shown, note="all instruments; the mark is what was promised")


def summary(target: Target, symbol: str, answer: LedgerAnswer) -> str:
    """Return the gate's word on the champion, then the live record of the instrument and of all."""
    subject = SUBJECTS[target]
    if not answer.spoke:
        champion = tables.card("Champion", "no model yet", "train one: `streamlake demo`")
    else:
        now = answer.spoke[0]
        gate = Badge("ok", f"skill on {subject}") if now.has_skill else Badge("note", f"no skill on {subject}")
        skill = "no figure" if now.skill is None else f"out of fold {now.skill:+.2%}"
        if now.engine == BASELINE_ENGINE:
            skill = "what models are measured against"
        elif now.skill_low is not None and now.skill_high is not None:
            skill += f", 95 % between {now.skill_low:+.2%} and {now.skill_high:+.2%}"
        champion = tables.card(
            "Champion", now.version, f"{now.engine}; {skill}; since {tables.moment(now.since)}", [gate]
        )
    own, everybody = track_record(answer.own), track_record(answer.all)
    return tables.cards(
        [champion, record_card(f"Live skill, {symbol}", own), record_card("Live skill, all", everybody)]
    )


def record_card(title: str, record: TrackRecord) -> str:
    """Return a card of a live record: skill over the baseline, its interval, coverage and signs."""
    if record.skill is None:
        small = f"{record.waiting} waiting for their session, {record.late} late"
        return tables.card(title, "not scored yet", small)
    parts = []
    if record.low is not None and record.high is not None:
        parts.append(f"95 % between {record.low:+.1%} and {record.high:+.1%}")
    else:
        parts.append("too few sessions for an interval")
    parts.append(
        f"{record.scored} scored over {record.sessions} sessions, {record.waiting} waiting, {record.late} late"
    )
    if record.covered_share is not None and record.nominal is not None:
        parts.append(f"{record.covered_share:.0%} inside the {record.nominal:.0%} interval")
    if record.hits is not None:
        parts.append(f"signs right {record.hits.rate:.0%}, base rate {record.hits.base_rate:.0%}")
    badge = Badge("ok", "beats the baseline") if record.beats else Badge("note", "not beyond doubt")
    return tables.card(title, f"{record.skill:+.1%}", "; ".join(parts), [badge])


def rows_table(target: Target, lines: Sequence[LedgerLine], picked: int | None) -> str:
    """Return the rows, each with a button that asks why."""
    rows = [
        (
            line.session.isoformat(),
            form(target, line.point),
            f"{form(target, line.low)} to {form(target, line.high)}",
            form(target, line.realised),
            form(target, line.baseline),
            _result(line),
            line.version,
            Cell("shown" if line.id == picked else "why?", "on" if line.id == picked else "", str(line.id)),
        )
        for line in lines
    ]
    return tables.table(_HEAD, rows, last=3, empty="no forecasts of this instrument yet")


def reigns_table(spoke: Sequence[SpokeFrom]) -> str:
    """Return who spoke from when on, and why."""
    rows = [
        (
            tables.moment(one.since),
            one.version,
            one.engine,
            Cell("skill", "ok") if one.has_skill else Cell("no skill", "quiet"),
            one.reason,
        )
        for one in spoke
    ]
    head = ("since", "model", "engine", "gate", "reason")
    shown = tables.table(head, rows, text=5, empty="no champion yet")
    return tables.section("Champions and promotions", shown)


def _result(line: LedgerLine) -> Cell:
    if line.late:
        return Cell("late, not scored", "quiet")
    if line.realised is None:
        return Cell("waits for its session", "quiet")
    return Cell("inside", "ok") if line.covered else Cell("outside", "warn")
