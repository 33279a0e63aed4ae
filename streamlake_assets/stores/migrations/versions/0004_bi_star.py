"""The views that BI tools read, as the catalogue had them; written by ``streamlake bi migration``."""

from importlib import import_module

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE = "streamlake_assets.stores.migrations.versions.0001_first_schema"

VIEWS = {
    "bi_dates": """
        WITH digits AS (
          SELECT 0 AS n UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4
          UNION ALL SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9),
        span AS (
          SELECT MIN(facts.first_day) AS first_day, MAX(facts.last_day) AS last_day FROM (
            SELECT MIN(session_date) AS first_day, MAX(session_date) AS last_day FROM bars
            UNION ALL SELECT MIN(target_session), MAX(target_session) FROM forecasts) AS facts),
        days AS (
          SELECT DATE_ADD(span.first_day, INTERVAL (a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n) DAY) AS calendar_date
          FROM span CROSS JOIN digits AS a CROSS JOIN digits AS b CROSS JOIN digits AS c
               CROSS JOIN digits AS d CROSS JOIN digits AS e
          WHERE a.n + 10 * b.n + 100 * c.n + 1000 * d.n + 10000 * e.n <= DATEDIFF(span.last_day, span.first_day)),
        known AS (
          SELECT MIN(session_date) AS first_day, MAX(session_date) AS last_day
          FROM calendar_sessions WHERE calendar = 'XNYS')
        SELECT
          days.calendar_date AS `calendar_date`,
          CAST(YEAR(days.calendar_date) AS SIGNED) AS `year`,
          QUARTER(days.calendar_date) AS `quarter`,
          CONCAT(YEAR(days.calendar_date), '-Q', QUARTER(days.calendar_date)) AS `year_quarter`,
          MONTH(days.calendar_date) AS `month`,
          CONCAT(YEAR(days.calendar_date), '-', LPAD(MONTH(days.calendar_date), 2, '0')) AS `year_month`,
          YEARWEEK(days.calendar_date, 3) DIV 100 AS `iso_year`,
          WEEK(days.calendar_date, 3) AS `iso_week`,
          WEEKDAY(days.calendar_date) + 1 AS `weekday`,
          ELT(WEEKDAY(days.calendar_date) + 1, 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun') AS `weekday_name`,
          CAST(CASE WHEN open.session_date IS NOT NULL THEN 1
                 WHEN days.calendar_date BETWEEN known.first_day AND known.last_day THEN 0 END AS SIGNED) AS `is_xnys_session`,
          1 AS `is_always_session`
        FROM days CROSS JOIN known
             LEFT JOIN calendar_sessions AS open
               ON open.calendar = 'XNYS' AND open.session_date = days.calendar_date
    """,
    "bi_sectors": """
        SELECT
          named.id AS `sector_id`,
          named.name AS `sector`
        FROM (SELECT id, name FROM sectors UNION ALL SELECT 0, '(none)') AS named
    """,
    "bi_exchanges": """
        SELECT
          x.id AS `exchange_id`,
          x.mic AS `exchange`,
          x.zone AS `time_zone`
        FROM exchanges AS x
    """,
    "bi_sources": """
        SELECT
          d.id AS `source_id`,
          d.name AS `source`,
          d.source_rank AS `source_rank`
        FROM data_sources AS d
    """,
    "bi_instruments": """
        SELECT
          i.id AS `instrument_id`,
          CONCAT(i.symbol, '|', x.mic) AS `instrument`,
          i.symbol AS `symbol`,
          i.name AS `name`,
          i.asset_class AS `asset_class`,
          i.currency AS `currency`,
          CASE WHEN i.asset_class = 'crypto' THEN '24/7' ELSE x.mic END AS `calendar`,
          CASE WHEN i.asset_class = 'crypto' THEN 365 ELSE 252 END AS `sessions_per_year`,
          COALESCE(i.sector_id, 0) AS `sector_id`,
          i.exchange_id AS `exchange_id`
        FROM instruments AS i JOIN exchanges AS x ON x.id = i.exchange_id
    """,
    "bi_session_bars": """
        WITH grouped AS (
          SELECT b.instrument_id, b.session_date, b.interval_id, v.name AS bar_interval, COUNT(*) AS bars,
                 MIN(b.bar_time) AS first_bar, MAX(b.bar_time) AS last_bar,
                 MAX(b.high) AS high, MIN(b.low) AS low,
                 SUM(b.volume) AS volume, MAX(b.synthetic) AS synthetic,
                 ROW_NUMBER() OVER (PARTITION BY b.instrument_id, b.session_date ORDER BY v.seconds) AS choice,
                 MAX(v.name = '1d') OVER (PARTITION BY b.instrument_id, b.session_date) AS has_daily
          FROM bars AS b JOIN bar_intervals AS v ON v.id = b.interval_id
          WHERE b.status = 'settled'
          GROUP BY b.instrument_id, b.session_date, b.interval_id, v.name, v.seconds),
        chosen AS (
          SELECT g.instrument_id, g.session_date, g.bar_interval, g.bars, f.open, g.high, g.low, l.close,
                 g.volume, g.synthetic, g.has_daily, l.source_id,
                 LAG(l.close) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date) AS previous_close,
                 LAG(g.session_date) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date)
                   AS previous_session,
                 LEAD(g.session_date) OVER (PARTITION BY g.instrument_id ORDER BY g.session_date) AS next_session
          FROM grouped AS g
               JOIN bars AS f ON f.instrument_id = g.instrument_id AND f.interval_id = g.interval_id
                 AND f.bar_time = g.first_bar
               JOIN bars AS l ON l.instrument_id = g.instrument_id AND l.interval_id = g.interval_id
                 AND l.bar_time = g.last_bar
          WHERE g.choice = 1),
        priced AS (
          SELECT c.*, COALESCE((
            SELECT EXP(SUM(LN(a.factor))) FROM corporate_actions AS a
            WHERE a.instrument_id = c.instrument_id AND a.ex_date > c.previous_session
                  AND a.ex_date <= c.session_date), 1e0) AS factor
          FROM chosen AS c WHERE c.has_daily = 1 OR c.next_session IS NOT NULL),
        known AS (
          SELECT calendar, MIN(session_date) AS first_day, MAX(session_date) AS last_day
          FROM calendar_sessions GROUP BY calendar)
        SELECT
          p.instrument_id AS `instrument_id`,
          p.session_date AS `session_date`,
          p.source_id AS `source_id`,
          p.bar_interval AS `bar_interval`,
          p.bars AS `bars`,
          p.open AS `open`,
          p.high AS `high`,
          p.low AS `low`,
          p.close AS `close`,
          p.volume AS `volume`,
          CAST((p.high + p.low + p.close) / 3 AS DOUBLE) AS `typical_price`,
          CAST(p.close * p.volume AS DOUBLE) AS `dollar_volume`,
          p.factor AS `factor`,
          CASE WHEN p.close > 0 AND p.previous_close > 0
                 THEN CAST(p.close AS DOUBLE) / (CAST(p.previous_close AS DOUBLE) * p.factor) - 1 END AS `session_return`,
          CAST(p.synthetic AS SIGNED) AS `is_synthetic`,
          CAST(CASE WHEN i.asset_class = 'crypto' OR due.session_date IS NOT NULL THEN 1
                 WHEN p.session_date BETWEEN known.first_day AND known.last_day THEN 0 END AS SIGNED) AS `in_calendar`
        FROM priced AS p
             JOIN instruments AS i ON i.id = p.instrument_id
             JOIN exchanges AS x ON x.id = i.exchange_id
             LEFT JOIN known ON known.calendar = x.mic
             LEFT JOIN calendar_sessions AS due
               ON due.calendar = x.mic AND due.session_date = p.session_date
    """,
    "bi_expected_sessions": """
        WITH seen AS (
          SELECT s.instrument_id, MIN(s.session_date) AS first_day, MAX(s.session_date) AS last_day
          FROM bi_session_bars AS s GROUP BY s.instrument_id),
        spans AS (
          SELECT n.instrument_id, n.calendar, seen.first_day,
                 MAX(seen.last_day) OVER (PARTITION BY n.calendar) AS last_day
          FROM seen JOIN bi_instruments AS n ON n.instrument_id = seen.instrument_id)
        SELECT
          due.instrument_id AS `instrument_id`,
          due.session_date AS `session_date`
        FROM (
          SELECT spans.instrument_id, c.session_date
          FROM spans JOIN calendar_sessions AS c
               ON c.calendar = spans.calendar AND c.session_date BETWEEN spans.first_day AND spans.last_day
          UNION ALL
          SELECT spans.instrument_id, d.calendar_date
          FROM spans JOIN bi_dates AS d ON d.calendar_date BETWEEN spans.first_day AND spans.last_day
          WHERE spans.calendar = '24/7') AS due
    """,
    "bi_forecasts": """
        SELECT
          f.id AS `forecast_id`,
          f.instrument_id AS `instrument_id`,
          f.target_session AS `target_session`,
          f.target AS `target`,
          f.known_session AS `known_session`,
          f.model_version AS `model_version`,
          m.engine AS `engine`,
          CAST(m.has_skill AS SIGNED) AS `passed_gate`,
          f.issued_at AS `issued_at`,
          f.point AS `point`,
          f.low AS `low`,
          f.high AS `high`,
          f.baseline AS `baseline`,
          f.coverage AS `promised_coverage`,
          CAST(f.late AS SIGNED) AS `is_late`,
          s.realised AS `realised`,
          s.error AS `error`,
          s.error * s.error AS `squared_error`,
          s.baseline_error * s.baseline_error AS `baseline_squared_error`,
          CAST(s.covered AS SIGNED) AS `is_covered`,
          CAST(s.direction_hit AS SIGNED) AS `direction_hit`,
          CAST(CASE WHEN s.direction_hit IS NOT NULL THEN s.realised > 0 END AS SIGNED) AS `realised_up`
        FROM forecasts AS f
             JOIN model_versions AS m ON m.version = f.model_version
             LEFT JOIN forecast_scores AS s ON s.forecast_id = f.id
    """,
    "bi_ingest_quality": """
        SELECT
          DATE(b.created_at) AS `ingest_date`,
          t.topic AS `topic`,
          b.partition_no AS `partition_no`,
          CAST(SUM(b.messages) AS SIGNED) AS `messages`,
          CAST(SUM(b.`new`) AS SIGNED) AS `new_facts`,
          CAST(SUM(b.changed) AS SIGNED) AS `changed_facts`,
          CAST(SUM(b.same) AS SIGNED) AS `repeated`,
          CAST(SUM(b.older) AS SIGNED) AS `older`,
          CAST(SUM(b.dead) AS SIGNED) AS `dead`
        FROM ingest_batches AS b JOIN streams AS t ON t.id = b.stream_id
        GROUP BY DATE(b.created_at), t.topic, b.partition_no
    """,
    "bi_dead_letters": """
        SELECT
          DATE(d.broker_time) AS `broker_date`,
          t.topic AS `topic`,
          d.reason AS `reason`,
          COALESCE(d.resolution, 'open') AS `resolution`,
          COUNT(*) AS `letters`
        FROM dead_letters AS d JOIN streams AS t ON t.id = d.stream_id
        GROUP BY DATE(d.broker_time), t.topic, d.reason, COALESCE(d.resolution, 'open')
    """,
}


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    # the later views read the earlier ones
    for name in reversed(old):
        op.execute(f"DROP VIEW {name}")
    for name, select in new.items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def upgrade() -> None:
    _replace(import_module(BEFORE).VIEWS, VIEWS)


def downgrade() -> None:
    _replace(VIEWS, import_module(BEFORE).VIEWS)
