"""The dimensions: date with exchange sessions, instrument, sector, exchange, source.

Belongs here: their columns, meanings and SQL. Stays out: facts (``facts``, ``record``), measures (``measures``).

Every date from the first stored bar to the last bar or forecast has a row whether or not anything happened on it: the
server counts the days from ten digits, five times over, since a recursive expression stops after 1,000 rounds by
default. Which of them are sessions no server knows: ``calendar_sessions`` holds that, filled from exchange calendars.
"""

from typing import Final

from streamlake_assets.catalog.model import Column, Kind, Role, Table
from streamlake_assets.market.measures import SESSIONS_PER_YEAR
from streamlake_assets.market.types import AssetClass

NO_SECTOR: Final = 0
"""Id of the sector of instruments that have none."""

_DATE = "days.calendar_date"
_COUNTED = "a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n"

DATES: Final = Table(
    view="bi_dates",
    label="Dates",
    role=Role.DIMENSION,
    meaning="The calendar, from the first stored bar to the last bar or forecast.",
    grain="a calendar date",
    key=("calendar_date",),
    columns=(
        Column(name="calendar_date", kind=Kind.DATE, sql=_DATE, label="Date", meaning="The date.", format="yyyy-mm-dd"),
        Column(
            name="year", kind=Kind.INTEGER, sql=f"CAST(YEAR({_DATE}) AS SIGNED)", meaning="Calendar year.", format="0"
        ),
        Column(
            name="quarter", kind=Kind.INTEGER, sql=f"QUARTER({_DATE})", meaning="Quarter of the year.", bounds=(1, 4)
        ),
        Column(
            name="year_quarter",
            kind=Kind.TEXT,
            sql=f"CONCAT(YEAR({_DATE}), '-Q', QUARTER({_DATE}))",
            meaning="Year and quarter, such as 2013-Q1; sorts by time.",
        ),
        Column(name="month", kind=Kind.INTEGER, sql=f"MONTH({_DATE})", meaning="Month of the year.", bounds=(1, 12)),
        Column(
            name="year_month",
            kind=Kind.TEXT,
            sql=f"CONCAT(YEAR({_DATE}), '-', LPAD(MONTH({_DATE}), 2, '0'))",
            meaning="Year and month, such as 2013-01; sorts by time.",
        ),
        Column(
            name="iso_year",
            kind=Kind.INTEGER,
            sql=f"YEARWEEK({_DATE}, 3) DIV 100",
            label="ISO year",
            meaning="Year the ISO 8601 week belongs to.",
            format="0",
        ),
        Column(
            name="iso_week",
            kind=Kind.INTEGER,
            sql=f"WEEK({_DATE}, 3)",
            label="ISO week",
            meaning="Week of the ISO 8601 year.",
            bounds=(1, 53),
        ),
        Column(
            name="weekday",
            kind=Kind.INTEGER,
            sql=f"WEEKDAY({_DATE}) + 1",
            meaning="Day of the week, Monday is 1.",
            bounds=(1, 7),
        ),
        Column(
            name="weekday_name",
            kind=Kind.TEXT,
            sql=f"ELT(WEEKDAY({_DATE}) + 1, 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun')",
            meaning="Day of the week in letters.",
            sort_by="weekday",
            members=("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
        ),
        Column(
            name="is_xnys_session",
            kind=Kind.FLAG,
            sql="CAST(CASE WHEN open.session_date IS NOT NULL THEN 1\n"
            f"         WHEN {_DATE} BETWEEN known.first_day AND known.last_day THEN 0 END AS SIGNED)",
            label="Is XNYS session",
            meaning="Whether the New York Stock Exchange trades; unknown where its calendar has not been stored.",
            nullable=True,
        ),
        Column(
            name="is_always_session",
            kind=Kind.FLAG,
            sql="1",
            label="Is 24/7 session",
            meaning="Whether markets that never close trade: every date.",
        ),
    ),
    common="\n".join(
        (
            "digits AS (",
            "  SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4",
            "  UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9),",
            "span AS (",
            "  SELECT MIN(facts.first_day) AS first_day, MAX(facts.last_day) AS last_day FROM (",
            "    SELECT MIN(session_date) AS first_day, MAX(session_date) AS last_day FROM bars",
            "    UNION ALL SELECT MIN(target_session), MAX(target_session) FROM forecasts) AS facts),",
            "days AS (",
            f"  SELECT DATE_ADD(span.first_day, INTERVAL ({_COUNTED}) DAY) AS calendar_date",
            "  FROM span CROSS JOIN digits AS a CROSS JOIN digits AS b CROSS JOIN digits AS c",
            "       CROSS JOIN digits AS d CROSS JOIN digits AS e",
            f"  WHERE {_COUNTED} <= DATEDIFF(span.last_day, span.first_day)),",
            "known AS (",
            "  SELECT MIN(session_date) AS first_day, MAX(session_date) AS last_day",
            "  FROM calendar_sessions WHERE calendar = 'XNYS')",
        )
    ),
    source="\n".join(
        (
            "FROM days CROSS JOIN known",
            "     LEFT JOIN calendar_sessions AS open",
            f"       ON open.calendar = 'XNYS' AND open.session_date = {_DATE}",
        )
    ),
)

SECTORS: Final = Table(
    view="bi_sectors",
    label="Sectors",
    role=Role.DIMENSION,
    meaning="Sectors, as sources name them.",
    grain="a sector",
    key=("sector_id",),
    columns=(
        Column(
            name="sector_id",
            kind=Kind.INTEGER,
            sql="named.id",
            meaning=f"Key; {NO_SECTOR} stands for none.",
            hidden=True,
        ),
        Column(name="sector", kind=Kind.TEXT, sql="named.name", meaning="Name; (none) where no source names one."),
    ),
    source="FROM (SELECT id, name FROM sectors UNION ALL SELECT 0, '(none)') AS named",
)

EXCHANGES: Final = Table(
    view="bi_exchanges",
    label="Exchanges",
    role=Role.DIMENSION,
    meaning="Markets by their ISO 10383 code.",
    grain="a market",
    key=("exchange_id",),
    columns=(
        Column(name="exchange_id", kind=Kind.INTEGER, sql="x.id", meaning="Key.", hidden=True),
        Column(
            name="exchange", kind=Kind.TEXT, sql="x.mic", meaning="ISO 10383 code (MIC); XXXX where no market is named."
        ),
        Column(name="time_zone", kind=Kind.TEXT, sql="x.zone", meaning="IANA time zone its sessions are dated in."),
    ),
    source="FROM exchanges AS x",
)

SOURCES: Final = Table(
    view="bi_sources",
    label="Sources",
    role=Role.DIMENSION,
    meaning="Providers and data sets.",
    grain="a source",
    key=("source_id",),
    columns=(
        Column(name="source_id", kind=Kind.INTEGER, sql="d.id", meaning="Key.", hidden=True),
        Column(name="source", kind=Kind.TEXT, sql="d.name", meaning="Name of the provider or data set."),
        Column(
            name="source_rank",
            kind=Kind.INTEGER,
            sql="d.source_rank",
            meaning="The higher rank wins between versions of one bar.",
        ),
    ),
    source="FROM data_sources AS d",
)

INSTRUMENTS: Final = Table(
    view="bi_instruments",
    label="Instruments",
    role=Role.DIMENSION,
    meaning="What is traded; an instrument is a symbol on a market.",
    grain="an instrument",
    key=("instrument_id",),
    columns=(
        Column(name="instrument_id", kind=Kind.INTEGER, sql="i.id", meaning="Key.", hidden=True),
        Column(
            name="instrument",
            kind=Kind.TEXT,
            sql="CONCAT(i.symbol, '|', x.mic)",
            meaning="Symbol and market in one word, which no two instruments share.",
        ),
        Column(name="symbol", kind=Kind.TEXT, sql="i.symbol", meaning="Symbol on its market."),
        Column(name="name", kind=Kind.TEXT, sql="i.name", meaning="Name, where a source gives one.", nullable=True),
        Column(
            name="asset_class",
            kind=Kind.TEXT,
            sql="i.asset_class",
            meaning="What it is.",
            members=tuple(one.value for one in AssetClass),
        ),
        Column(
            name="currency",
            kind=Kind.TEXT,
            sql="i.currency",
            meaning="Currency of its prices, where a source gives one.",
            nullable=True,
        ),
        Column(
            name="calendar",
            kind=Kind.TEXT,
            sql=f"CASE WHEN i.asset_class = '{AssetClass.CRYPTO.value}' THEN '24/7' ELSE x.mic END",
            meaning="Calendar of its sessions: the market's, or 24/7 for crypto.",
        ),
        Column(
            name="sessions_per_year",
            kind=Kind.INTEGER,
            sql=f"CASE WHEN i.asset_class = '{AssetClass.CRYPTO.value}' "
            f"THEN {SESSIONS_PER_YEAR[AssetClass.CRYPTO]} ELSE {SESSIONS_PER_YEAR[AssetClass.STOCK]} END",
            meaning="By which volatility is scaled to a year.",
            unit="sessions",
            hidden=True,
        ),
        Column(
            name="sector_id",
            kind=Kind.INTEGER,
            sql=f"COALESCE(i.sector_id, {NO_SECTOR})",
            meaning="Its sector.",
            hidden=True,
        ),
        Column(name="exchange_id", kind=Kind.INTEGER, sql="i.exchange_id", meaning="Its market.", hidden=True),
    ),
    source="FROM instruments AS i JOIN exchanges AS x ON x.id = i.exchange_id",
)
