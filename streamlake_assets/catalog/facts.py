"""The facts of the market: bars per session, the sessions that were due, forecasts with their scores.

Belongs here: their columns, meanings and SQL. Stays out: dimensions (``dimensions``), facts of the ingest (``ingest``),
measures (``measures``).

Bars per session follow the rule of the session documents: settled bars only, of each session those of its finest
interval, and only sessions that are complete, which is when a daily bar is among them or a later session has begun. So
a page that reads documents and a report that reads views show the same numbers.
"""

from typing import Final

from streamlake_assets.catalog.measures import FORECAST_MEASURES, SESSION_MEASURES
from streamlake_assets.catalog.model import Column, Kind, Role, Table
from streamlake_assets.market.targets import Target
from streamlake_assets.market.types import AssetClass, Interval

_PRICE = "quote currency"
_CRYPTO = AssetClass.CRYPTO.value


def _price(name: str, meaning: str, hidden: bool = False) -> Column:
    return Column(
        name=name,
        kind=Kind.DECIMAL,
        sql=f"p.{name}",
        meaning=meaning,
        unit=_PRICE,
        format="#,0.00",
        hidden=hidden,
    )


SESSION_BARS: Final = Table(
    view="bi_session_bars",
    label="Session bars",
    role=Role.FACT,
    meaning="Settled bars summed to sessions, raw prices, with the adjusted return of each session.",
    grain="a complete session of an instrument",
    key=("instrument_id", "session_date"),
    columns=(
        Column(name="instrument_id", kind=Kind.INTEGER, sql="p.instrument_id", meaning="Instrument.", hidden=True),
        Column(
            name="session_date",
            kind=Kind.DATE,
            sql="p.session_date",
            meaning="The exchange's date of the session.",
            format="yyyy-mm-dd",
        ),
        Column(name="source_id", kind=Kind.INTEGER, sql="p.source_id", meaning="Source of its last bar.", hidden=True),
        Column(
            name="bar_interval",
            kind=Kind.TEXT,
            sql="p.bar_interval",
            meaning="Length of the bars it was summed from.",
            members=tuple(one.value for one in Interval),
        ),
        Column(
            name="bars",
            kind=Kind.INTEGER,
            sql="p.bars",
            meaning="Number of bars it was summed from.",
            bounds=(1, None),
            hidden=True,
        ),
        _price("open", "Open of the first bar."),
        _price("high", "Highest price."),
        _price("low", "Lowest price."),
        _price("close", "Close of the last bar."),
        Column(
            name="volume",
            kind=Kind.DECIMAL,
            sql="p.volume",
            meaning="Units traded; unknown for most indices and currencies.",
            unit="units",
            format="#,0",
            nullable=True,
            bounds=(0, None),
        ),
        Column(
            name="typical_price",
            kind=Kind.DOUBLE,
            sql="CAST((p.high + p.low + p.close) / 3 AS DOUBLE)",
            meaning="(high + low + close) / 3, by which VWAP weighs.",
            unit=_PRICE,
            hidden=True,
        ),
        Column(
            name="dollar_volume",
            kind=Kind.DOUBLE,
            sql="CAST(p.close * p.volume AS DOUBLE)",
            label="Traded value",
            meaning="close * volume.",
            unit=_PRICE,
            nullable=True,
            hidden=True,
        ),
        Column(
            name="factor",
            kind=Kind.DOUBLE,
            sql="p.factor",
            meaning="Product of the corporate-action factors since the session before; 1 where there is none.",
            format="0.000000",
            bounds=(0, None),
        ),
        Column(
            name="session_return",
            kind=Kind.DOUBLE,
            sql="CASE WHEN p.close > 0 AND p.previous_close > 0\n"
            "         THEN CAST(p.close AS DOUBLE) / (CAST(p.previous_close AS DOUBLE) * p.factor) - 1 END",
            meaning="Adjusted simple return, close / (close before * factor) - 1; none in an instrument's first "
            "session and beside a price that is not positive.",
            unit="ratio",
            format="0.00%",
            nullable=True,
            bounds=(-1, None),
        ),
        Column(
            name="is_synthetic",
            kind=Kind.FLAG,
            sql="CAST(p.synthetic AS SIGNED)",
            meaning="Whether a bar of it was made instead of traded.",
            hidden=True,
        ),
        Column(
            name="in_calendar",
            kind=Kind.FLAG,
            sql=f"CAST(CASE WHEN i.asset_class = '{_CRYPTO}' OR due.session_date IS NOT NULL THEN 1\n"
            "         WHEN p.session_date BETWEEN known.first_day AND known.last_day THEN 0 END AS SIGNED)",
            meaning="Whether the calendar has that session; unknown where the calendar has not been stored.",
            nullable=True,
            hidden=True,
        ),
    ),
    common="\n".join(
        (
            "grouped AS (",
            "  SELECT b.instrument_id, b.session_date, b.interval_id, v.name AS bar_interval, COUNT(*) AS bars,",
            "         MIN(b.bar_time) AS first_bar, MAX(b.bar_time) AS last_bar,",
            "         MAX(b.high) AS high, MIN(b.low) AS low,",
            "         SUM(b.volume) AS volume, MAX(b.synthetic) AS synthetic,",
            "         ROW_NUMBER() OVER (PARTITION BY b.instrument_id, b.session_date ORDER BY v.seconds) AS choice,",
            "         MAX(v.name = '1d') OVER (PARTITION BY b.instrument_id, b.session_date) AS has_daily",
            "  FROM bars AS b JOIN bar_intervals AS v ON v.id = b.interval_id",
            "  WHERE b.status = 'settled'",
            "  GROUP BY b.instrument_id, b.session_date, b.interval_id, v.name, v.seconds),",
            "chosen AS (",
            "  SELECT g.instrument_id, g.session_date, g.bar_interval, g.bars, f.open, g.high, g.low, l.close,",
            "         g.volume, g.synthetic, g.has_daily, l.source_id,",
            "         LAG(l.close) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date) AS previous_close,",
            "         LAG(g.session_date) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date)",
            "           AS previous_session,",
            "         LEAD(g.session_date) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date) AS next_session",
            "  FROM grouped AS g",
            "       JOIN bars AS f ON f.instrument_id = g.instrument_id AND f.interval_id = g.interval_id",
            "         AND f.bar_time = g.first_bar",
            "       JOIN bars AS l ON l.instrument_id = g.instrument_id AND l.interval_id = g.interval_id",
            "         AND l.bar_time = g.last_bar",
            "  WHERE g.choice = 1),",
            "priced AS (",
            "  SELECT c.*, COALESCE((",
            "    SELECT EXP(SUM(LN(a.factor))) FROM corporate_actions AS a",
            "    WHERE a.instrument_id = c.instrument_id AND a.ex_date > c.previous_session",
            "          AND a.ex_date <= c.session_date), 1e0) AS factor",
            "  FROM chosen AS c WHERE c.has_daily = 1 OR c.next_session IS NOT NULL),",
            "known AS (",
            "  SELECT calendar, MIN(session_date) AS first_day, MAX(session_date) AS last_day",
            "  FROM calendar_sessions GROUP BY calendar)",
        )
    ),
    source="\n".join(
        (
            "FROM priced AS p",
            "     JOIN instruments AS i ON i.id = p.instrument_id",
            "     JOIN exchanges AS x ON x.id = i.exchange_id",
            "     LEFT JOIN known ON known.calendar = x.mic",
            "     LEFT JOIN calendar_sessions AS due",
            "       ON due.calendar = x.mic AND due.session_date = p.session_date",
        )
    ),
    measures=SESSION_MEASURES,
)

EXPECTED_SESSIONS: Final = Table(
    view="bi_expected_sessions",
    label="Expected sessions",
    role=Role.FACT,
    meaning="The sessions that calendars say there were: what completeness is measured by.",
    grain="a session of an instrument's calendar, from its own first session to the last of its calendar's instruments",
    key=("instrument_id", "session_date"),
    columns=(
        Column(name="instrument_id", kind=Kind.INTEGER, sql="due.instrument_id", meaning="Instrument.", hidden=True),
        Column(
            name="session_date",
            kind=Kind.DATE,
            sql="due.session_date",
            meaning="The exchange's date of the session.",
            format="yyyy-mm-dd",
        ),
    ),
    common="\n".join(
        (
            "seen AS (",
            "  SELECT s.instrument_id, MIN(s.session_date) AS first_day, MAX(s.session_date) AS last_day",
            "  FROM bi_session_bars AS s GROUP BY s.instrument_id),",
            "spans AS (",
            "  SELECT n.instrument_id, n.calendar, seen.first_day,",
            "         MAX(seen.last_day) OVER (PARTITION BY n.calendar) AS last_day",
            "  FROM seen JOIN bi_instruments AS n ON n.instrument_id = seen.instrument_id)",
        )
    ),
    source="\n".join(
        (
            "FROM (",
            "  SELECT spans.instrument_id, c.session_date",
            "  FROM spans JOIN calendar_sessions AS c",
            "       ON c.calendar = spans.calendar AND c.session_date BETWEEN spans.first_day AND spans.last_day",
            "  UNION ALL",
            "  SELECT spans.instrument_id, d.calendar_date",
            "  FROM spans JOIN bi_dates AS d ON d.calendar_date BETWEEN spans.first_day AND spans.last_day",
            "  WHERE spans.calendar = '24/7') AS due",
        )
    ),
)

FORECASTS: Final = Table(
    view="bi_forecasts",
    label="Forecasts",
    role=Role.FACT,
    meaning="What models said of sessions before they were known, and what came true.",
    grain="a forecast of one target of one instrument's session by one model",
    key=("forecast_id",),
    columns=(
        Column(name="forecast_id", kind=Kind.INTEGER, sql="f.id", meaning="Key.", hidden=True),
        Column(name="instrument_id", kind=Kind.INTEGER, sql="f.instrument_id", meaning="Instrument.", hidden=True),
        Column(
            name="target_session",
            kind=Kind.DATE,
            sql="f.target_session",
            meaning="Session that was forecast.",
            format="yyyy-mm-dd",
        ),
        Column(
            name="target",
            kind=Kind.TEXT,
            sql="f.target",
            meaning="What was forecast: the adjusted log return, or the log range ln(high / low).",
            members=tuple(one.value for one in Target),
        ),
        Column(
            name="known_session",
            kind=Kind.DATE,
            sql="f.known_session",
            meaning="Last session the forecast could see.",
            format="yyyy-mm-dd",
        ),
        Column(name="model_version", kind=Kind.TEXT, sql="f.model_version", meaning="Model that spoke."),
        Column(name="engine", kind=Kind.TEXT, sql="m.engine", meaning="What the model was trained with."),
        Column(
            name="passed_gate",
            kind=Kind.FLAG,
            sql="CAST(m.has_skill AS SIGNED)",
            meaning="Whether the model was better than the baseline beyond doubt when it was trained.",
        ),
        Column(
            name="issued_at",
            kind=Kind.MOMENT,
            sql="f.issued_at",
            meaning="When the forecast was committed.",
            unit="UTC",
        ),
        *(
            Column(
                name=name,
                kind=Kind.DOUBLE,
                sql=f"f.{name}",
                meaning=meaning,
                unit="log ratio",
                format="0.0000",
            )
            for name, meaning in (
                ("point", "The forecast."),
                ("low", "Lower end of its interval."),
                ("high", "Upper end of its interval."),
                ("baseline", "What the target's baseline said at the same time."),
            )
        ),
        Column(
            name="promised_coverage",
            kind=Kind.DOUBLE,
            sql="f.coverage",
            meaning="Share of outcomes its interval should hold.",
            unit="ratio",
            bounds=(0, 1),
            hidden=True,
        ),
        Column(
            name="is_late",
            kind=Kind.FLAG,
            sql="CAST(f.late AS SIGNED)",
            meaning="Whether a bar of its session was stored before it: such forecasts are never scored.",
        ),
        *(
            Column(
                name=name,
                kind=Kind.DOUBLE,
                sql=sql,
                meaning=meaning,
                unit=unit,
                nullable=True,
                format="0.0000",
                hidden=hidden,
            )
            for name, sql, meaning, unit, hidden in (
                ("realised", "s.realised", "What came true; none before the session has settled.", "log ratio", False),
                ("error", "s.error", "Truth less forecast.", "log ratio", False),
                ("squared_error", "s.error * s.error", "Square of the error.", "squared log ratio", True),
                (
                    "baseline_squared_error",
                    "s.baseline_error * s.baseline_error",
                    "Square of the baseline's error.",
                    "squared log ratio",
                    True,
                ),
            )
        ),
        Column(
            name="is_covered",
            kind=Kind.FLAG,
            sql="CAST(s.covered AS SIGNED)",
            meaning="Whether the interval held the truth.",
            nullable=True,
            hidden=True,
        ),
        Column(
            name="direction_hit",
            kind=Kind.FLAG,
            sql="CAST(s.direction_hit AS SIGNED)",
            meaning="Whether the sign was right; none where target, forecast or truth has no direction.",
            nullable=True,
            hidden=True,
        ),
        Column(
            name="realised_up",
            kind=Kind.FLAG,
            sql="CAST(CASE WHEN s.direction_hit IS NOT NULL THEN s.realised > 0 END AS SIGNED)",
            meaning="Whether the truth was above zero, of the rows that have a direction: gives the base rate.",
            nullable=True,
            hidden=True,
        ),
    ),
    source="\n".join(
        (
            "FROM forecasts AS f",
            "     JOIN model_versions AS m ON m.version = f.model_version",
            "     LEFT JOIN forecast_scores AS s ON s.forecast_id = f.id",
        )
    ),
    measures=FORECAST_MEASURES,
)
