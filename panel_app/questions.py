"""The questions there are, one frozen record each, and what their answers hold.

Belongs here: names of what pages ask for. Stays out: asking (``readers``), keeping (``shelf``), showing (views).
"""

import datetime as dt
from enum import StrEnum
from typing import Any, ClassVar

import msgspec

from panel_app.shelf import Question
from streamlake_assets.market.measures import PeriodKind
from streamlake_assets.market.messages import Message
from streamlake_assets.market.period_lines import Grouping, IndicatorLine
from streamlake_assets.market.quality import Imbalance, PartitionCount
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import Instrument
from streamlake_assets.stores.dead_letters import Letter
from streamlake_assets.stores.page_ledger import Behind, LedgerLine, SpokeFrom
from streamlake_assets.stores.page_quality import AlertLine, CheckLine, Percentiles, RowTimes


class LedgerOf(Question, frozen=True):
    """The ledger's newest rows for a target, of one instrument and of all; answered by ``LedgerAnswer``."""

    target: Target
    instrument: Instrument


class LedgerAnswer(msgspec.Struct, frozen=True):
    """Rows of the instrument, rows of all instruments, who spoke; each the newest first."""

    own: tuple[LedgerLine, ...]
    all: tuple[LedgerLine, ...]
    spoke: tuple[SpokeFrom, ...]


class WhyForecast(Question, frozen=True):
    """What stands behind a row of the ledger; answered by ``WhyAnswer``, None when there is no such row."""

    forecast_id: int
    every_s: ClassVar[float] = 60.0


class WhyAnswer(msgspec.Struct, frozen=True):
    """What the tables say, the session document behind the newest bar, and the very message that brought that bar.

    ``document`` and ``message`` are None where they are not there; ``missing`` says why.
    """

    behind: Behind
    document: dict[str, Any] | None
    message: Message | None
    missing: tuple[str, ...]


class ReportOf(Question, frozen=True):
    """A stored report by name; answered by its plain data, None before it was made."""

    name: str
    every_s: ClassVar[float] = 15.0


class Register(Question, frozen=True):
    """Registered models, the newest first; answered by a list of ``RegisteredModel``."""

    every_s: ClassVar[float] = 15.0


class Counts(Question, frozen=True):
    """The count ledger; answered by ``CountsAnswer``."""

    every_s: ClassVar[float] = 10.0


class CountsAnswer(msgspec.Struct, frozen=True):
    """Counts by partition, and what does not add up."""

    partitions: list[PartitionCount]
    imbalances: list[Imbalance]


class DeadLetters(Question, frozen=True):
    """The newest dead letters in a state; answered by ``DeadAnswer``."""

    state: str


class DeadAnswer(msgspec.Struct, frozen=True):
    """Letters, the newest first; open and all by reason; messages in all."""

    letters: list[Letter]
    reasons: dict[str, tuple[int, int]]
    messages: int


class LetterPayload(Question, frozen=True):
    """What a dead letter said; answered by bytes, None where it had no value."""

    letter_id: int
    every_s: ClassVar[float] = 60.0


class Operations(Question, frozen=True):
    """Processes, latencies, recorded checks and alerts; answered by ``OperationsAnswer``."""

    every_s: ClassVar[float] = 3.0


class OperationsAnswer(msgspec.Struct, frozen=True):
    """``to_documents``: from a row to the refresh that took it in, as far as this process saw refreshes happen."""

    heartbeats: dict[str, tuple[dt.datetime, dict[str, Any]]]
    rows: RowTimes
    to_documents: Percentiles
    refreshed_at: dt.datetime | None
    checks: list[CheckLine]
    alerts: list[AlertLine]


class Inbox(Question, frozen=True):
    """What is not well now; answered by a list of ``OpenAlert``. A question of its own: it needs MySQL alone."""

    every_s: ClassVar[float] = 2.0


class Asked(Question, frozen=True):
    """The newest commands that pages asked for; answered by a list of ``Command``, the newest first."""

    every_s: ClassVar[float] = 1.0


class ReplayNow(Question, frozen=True):
    """The replay that began last; answered by a ``Replay``, or None where there never was one."""

    every_s: ClassVar[float] = 1.0


class Glance(Question, frozen=True):
    """The newest sessions of every instrument; answered by a tuple of ``GlanceLine``."""

    every_s: ClassVar[float] = 15.0


class GlanceLine(msgspec.Struct, frozen=True):
    """One instrument: newest session, its raw close, and the adjusted index of the newest sessions from 100."""

    instrument: Instrument
    session: dt.date
    close: float
    index: tuple[float, ...]


class Source(StrEnum):
    """Where indicators are read from."""

    DOCUMENTS = "documents"
    SQL = "SQL"


class Indicators(Question, frozen=True):
    """Measures of every instrument, sector or class over one period; the newest when ``period`` is empty."""

    source: Source
    grouping: Grouping
    kind: PeriodKind
    period: str = ""
    every_s: ClassVar[float] = 20.0


class IndicatorsAnswer(msgspec.Struct, frozen=True):
    """Lines of one period, the names of all periods (newest first), and where the time went, in seconds."""

    period: str
    periods: tuple[str, ...]
    lines: tuple[IndicatorLine, ...]
    read_s: float
    measured_s: float
    how: str
