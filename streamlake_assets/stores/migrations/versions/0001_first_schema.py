"""The first schema: tables, seeds, append-only triggers and the views that BI tools read."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = {"forecasts": "forecasts", "scores": "forecast_scores"}

INTERVALS = [(1, "1m", 60), (2, "5m", 300), (3, "15m", 900), (4, "30m", 1800), (5, "60m", 3600), (6, "1d", 86400)]
# the higher rank wins between versions of one bar: made data never replaces a real bar
SOURCES = [("bridge", 10), ("bokeh_sampledata", 50)]

VIEWS = {
    "bi_instruments": """
        SELECT i.id AS instrument_id, i.symbol, e.mic AS exchange, i.name, i.asset_class, s.name AS sector, i.currency
        FROM instruments i JOIN exchanges e ON e.id = i.exchange_id LEFT JOIN sectors s ON s.id = i.sector_id""",
    "bi_daily_bars": """
        SELECT b.instrument_id, i.symbol, b.session_date, b.open, b.high, b.low, b.close, b.volume, b.status,
               d.name AS source
        FROM bars b JOIN instruments i ON i.id = b.instrument_id JOIN bar_intervals v ON v.id = b.interval_id
             JOIN data_sources d ON d.id = b.source_id
        WHERE v.name = '1d'""",
    "bi_forecasts": """
        SELECT f.id AS forecast_id, f.instrument_id, i.symbol, f.target, f.target_session, f.known_session,
               f.model_version, m.engine, m.has_skill, f.point, f.low, f.high, f.baseline, f.late, f.issued_at,
               s.realised, s.error, s.baseline_error, s.covered
        FROM forecasts f JOIN instruments i ON i.id = f.instrument_id
             JOIN model_versions m ON m.version = f.model_version LEFT JOIN forecast_scores s ON s.forecast_id = f.id""",
    "bi_ingest_quality": """
        SELECT DATE(b.created_at) AS ingest_date, s.topic, b.partition_no, SUM(b.messages) AS messages,
               SUM(b.`new`) AS new_rows, SUM(b.changed) AS changed_rows, SUM(b.same) AS repeated, SUM(b.older) AS older,
               SUM(b.dead) AS dead_letters
        FROM ingest_batches b JOIN streams s ON s.id = b.stream_id
        GROUP BY DATE(b.created_at), s.topic, b.partition_no""",
}


def _seed() -> None:
    intervals = sa.table("bar_intervals", sa.column("id"), sa.column("name"), sa.column("seconds"))
    op.bulk_insert(intervals, [{"id": id_, "name": name, "seconds": seconds} for id_, name, seconds in INTERVALS])
    sources = sa.table("data_sources", sa.column("name"), sa.column("source_rank"))
    op.bulk_insert(sources, [{"name": name, "source_rank": rank} for name, rank in SOURCES])


def upgrade() -> None:
    op.create_table(
        "alert_outbox",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("dedupe_key", sa.String(length=190), nullable=False),
        sa.Column("state", mysql.ENUM("raised", "recovered"), nullable=False),
        sa.Column("severity", mysql.ENUM("info", "warning", "error"), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("sent_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_alert_outbox_dedupe_key")),
        comment="Alerts on their way out; a failed delivery leaves the row",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("definition", sa.JSON(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("1"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rules")),
        sa.UniqueConstraint("name", name=op.f("uq_alert_rules_name")),
        comment="What raises an alert",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "bar_intervals",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("name", mysql.CHAR(charset="ascii", collation="ascii_bin", length=3), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bar_intervals")),
        sa.UniqueConstraint("name", name=op.f("uq_bar_intervals_name")),
        comment="Lengths of bars",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "check_history",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("asset", sa.String(length=190), nullable=False),
        sa.Column("check_name", sa.String(length=128), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("severity", mysql.ENUM("warn", "error"), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column(
            "evaluated_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_check_history")),
        comment="Asset checks over time, for pages that do not speak to Dagster",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index("ix_check_history_asset", "check_history", ["asset", "check_name", "evaluated_at"], unique=False)
    op.create_table(
        "commands",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("verb", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("requested_by", sa.String(length=128), nullable=False),
        sa.Column(
            "requested_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False
        ),
        sa.Column("done_at", mysql.DATETIME(fsp=6), nullable=True),
        sa.Column("result", sa.String(length=512), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
        comment="What pages ask the processes beside Dagster to do",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "data_sources",
        sa.Column("id", sa.SmallInteger(), autoincrement=True, nullable=False),
        sa.Column("name", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column(
            "source_rank", sa.SmallInteger(), nullable=False, comment="The higher rank wins between versions of a bar"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_data_sources")),
        sa.UniqueConstraint("name", name=op.f("uq_data_sources_name")),
        comment="Providers and data sets, ranked",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "exchanges",
        sa.Column("id", sa.SmallInteger(), autoincrement=True, nullable=False),
        sa.Column("mic", mysql.CHAR(charset="ascii", collation="ascii_bin", length=4), nullable=False),
        sa.Column(
            "zone",
            mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64),
            nullable=False,
            comment="IANA time zone of its sessions",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exchanges")),
        sa.UniqueConstraint("mic", name=op.f("uq_exchanges_mic")),
        comment="Markets by ISO 10383 code",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "heartbeats",
        sa.Column("process", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("beat_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("process", name=op.f("pk_heartbeats")),
        comment="Last sign of life of each process beside Dagster, and what it was doing",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "model_versions",
        sa.Column("version", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("engine", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("target", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("spec_name", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("data_hash", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("skill", sa.Double(), nullable=True),
        sa.Column("skill_low", sa.Double(), nullable=True),
        sa.Column("skill_high", sa.Double(), nullable=True),
        sa.Column("has_skill", sa.Boolean(), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_model_versions")),
        comment="Every model ever registered; version 0 of a target is its baseline",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_model_versions_target"), "model_versions", ["target"], unique=False)
    op.create_table(
        "provider_quota",
        sa.Column("provider", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("window_start", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("window_seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("provider", "window_start", "window_seconds", name=op.f("pk_provider_quota")),
        comment="Calls made to each market-data provider in each window",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "sectors",
        sa.Column("id", sa.SmallInteger(), autoincrement=True, nullable=False),
        sa.Column("name", mysql.VARCHAR(charset="utf8mb4", collation="utf8mb4_bin", length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sectors")),
        sa.UniqueConstraint("name", name=op.f("uq_sectors_name")),
        comment="Sectors, as sources name them",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "streams",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("cluster_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("topic_id", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("topic", sa.String(length=249), nullable=False),
        sa.Column("first_seen", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_streams")),
        sa.UniqueConstraint("cluster_id", "topic_id", name=op.f("uq_streams_cluster_id_topic_id")),
        comment="Topics, each as created once on one cluster",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "alert_acks",
        sa.Column("alert_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("acked_by", sa.String(length=128), nullable=False),
        sa.Column("acked_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.ForeignKeyConstraint(["alert_id"], ["alert_outbox.id"], name=op.f("fk_alert_acks_alert_id")),
        sa.PrimaryKeyConstraint("alert_id", name=op.f("pk_alert_acks")),
        comment="Who has seen an alert",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "champions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("target", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("version", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column("since", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.ForeignKeyConstraint(["version"], ["model_versions.version"], name=op.f("fk_champions_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_champions")),
        comment="Which model spoke for a target from when on; the last row of a target is in force",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_champions_target"), "champions", ["target"], unique=False)
    op.create_index(op.f("ix_champions_version"), "champions", ["version"], unique=False)
    op.create_table(
        "ingest_batches",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition_no", sa.Integer(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("new", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("same", sa.Integer(), nullable=False),
        sa.Column("older", sa.Integer(), nullable=False),
        sa.Column("dead", sa.Integer(), nullable=False),
        sa.Column("consumer", sa.String(length=128), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.CheckConstraint("messages = `new` + changed + same + older + dead", name=op.f("ck_ingest_batches_sum")),
        sa.CheckConstraint("next_offset > first_offset", name=op.f("ck_ingest_batches_range")),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_ingest_batches_stream_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ingest_batches")),
        sa.UniqueConstraint(
            "stream_id",
            "partition_no",
            "first_offset",
            name=op.f("uq_ingest_batches_stream_id_partition_no_first_offset"),
        ),
        comment="One row for each partition in each transaction: which messages, and what became of them",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "instruments",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("symbol", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=16), nullable=False),
        sa.Column("exchange_id", sa.SmallInteger(), nullable=False),
        sa.Column("asset_class", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=True),
        sa.Column("sector_id", sa.SmallInteger(), nullable=True),
        sa.Column("currency", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=16), nullable=True),
        sa.Column(
            "described_as_of", mysql.DATETIME(fsp=6), nullable=True, comment="as_of of the message that described it"
        ),
        sa.ForeignKeyConstraint(["exchange_id"], ["exchanges.id"], name=op.f("fk_instruments_exchange_id")),
        sa.ForeignKeyConstraint(["sector_id"], ["sectors.id"], name=op.f("fk_instruments_sector_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instruments")),
        sa.UniqueConstraint("symbol", "exchange_id", name=op.f("uq_instruments_symbol_exchange_id")),
        comment="What is traded",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_instruments_exchange_id"), "instruments", ["exchange_id"], unique=False)
    op.create_index(op.f("ix_instruments_sector_id"), "instruments", ["sector_id"], unique=False)
    op.create_table(
        "stream_offsets",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition_no", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False, comment="First offset that is not in the tables yet"),
        sa.Column("updated_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_stream_offsets_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "partition_no", name=op.f("pk_stream_offsets")),
        comment="How far each partition is in the tables; moved only by compare-and-set, with the rows",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "bar_revisions",
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("interval_id", sa.SmallInteger(), nullable=False),
        sa.Column("bar_time", mysql.DATETIME(fsp=6), nullable=False, comment="Start of the bar, UTC"),
        sa.Column("session_date", sa.Date(), nullable=False, comment="The exchange's date of the bar"),
        sa.Column("open", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("high", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("low", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("close", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("volume", sa.Numeric(precision=28, scale=10), nullable=True),
        sa.Column("vwap", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.Column("trades", sa.BigInteger(), nullable=True),
        sa.Column("status", mysql.ENUM("provisional", "settled"), nullable=False),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("source_id", sa.SmallInteger(), nullable=False),
        sa.Column("as_of", mysql.DATETIME(fsp=6), nullable=False, comment="When the source stated these values"),
        sa.Column("event_time", mysql.DATETIME(fsp=6), nullable=False, comment="When the message was put on the wire"),
        sa.Column("known_from", mysql.DATETIME(fsp=6), nullable=False, comment="The broker's time of the message"),
        sa.Column("version_hash", sa.BINARY(length=16), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "high >= `open` AND high >= `close` AND high >= low AND low <= `open` AND low <= `close`",
            name=op.f("ck_bar_revisions_ohlc"),
        ),
        sa.CheckConstraint("volume >= 0", name=op.f("ck_bar_revisions_volume")),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.id"], name=op.f("fk_bar_revisions_batch_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name=op.f("fk_bar_revisions_instrument_id")),
        sa.ForeignKeyConstraint(["interval_id"], ["bar_intervals.id"], name=op.f("fk_bar_revisions_interval_id")),
        sa.ForeignKeyConstraint(["source_id"], ["data_sources.id"], name=op.f("fk_bar_revisions_source_id")),
        sa.PrimaryKeyConstraint(
            "instrument_id", "interval_id", "bar_time", "version_hash", name=op.f("pk_bar_revisions")
        ),
        comment="Every distinct version of a bar that is not in force, once each",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_bar_revisions_batch_id"), "bar_revisions", ["batch_id"], unique=False)
    op.create_index("ix_bar_revisions_interval", "bar_revisions", ["interval_id"], unique=False)
    op.create_index(op.f("ix_bar_revisions_source_id"), "bar_revisions", ["source_id"], unique=False)
    op.create_table(
        "bars",
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("interval_id", sa.SmallInteger(), nullable=False),
        sa.Column("bar_time", mysql.DATETIME(fsp=6), nullable=False, comment="Start of the bar, UTC"),
        sa.Column("session_date", sa.Date(), nullable=False, comment="The exchange's date of the bar"),
        sa.Column("open", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("high", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("low", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("close", sa.Numeric(precision=20, scale=10), nullable=False),
        sa.Column("volume", sa.Numeric(precision=28, scale=10), nullable=True),
        sa.Column("vwap", sa.Numeric(precision=20, scale=10), nullable=True),
        sa.Column("trades", sa.BigInteger(), nullable=True),
        sa.Column("status", mysql.ENUM("provisional", "settled"), nullable=False),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("source_id", sa.SmallInteger(), nullable=False),
        sa.Column("as_of", mysql.DATETIME(fsp=6), nullable=False, comment="When the source stated these values"),
        sa.Column("event_time", mysql.DATETIME(fsp=6), nullable=False, comment="When the message was put on the wire"),
        sa.Column("known_from", mysql.DATETIME(fsp=6), nullable=False, comment="The broker's time of the message"),
        sa.Column("version_hash", sa.BINARY(length=16), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "high >= `open` AND high >= `close` AND high >= low AND low <= `open` AND low <= `close`",
            name=op.f("ck_bars_ohlc"),
        ),
        sa.CheckConstraint("volume >= 0", name=op.f("ck_bars_volume")),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.id"], name=op.f("fk_bars_batch_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name=op.f("fk_bars_instrument_id")),
        sa.ForeignKeyConstraint(["interval_id"], ["bar_intervals.id"], name=op.f("fk_bars_interval_id")),
        sa.ForeignKeyConstraint(["source_id"], ["data_sources.id"], name=op.f("fk_bars_source_id")),
        sa.PrimaryKeyConstraint("instrument_id", "interval_id", "bar_time", name=op.f("pk_bars")),
        comment="The version in force of every bar, raw prices",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_bars_batch_id"), "bars", ["batch_id"], unique=False)
    op.create_index("ix_bars_interval_session", "bars", ["interval_id", "session_date"], unique=False)
    op.create_index(op.f("ix_bars_source_id"), "bars", ["source_id"], unique=False)
    op.create_table(
        "corporate_action_revisions",
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("ex_date", sa.Date(), nullable=False),
        sa.Column("kind", mysql.ENUM("split", "dividend"), nullable=False),
        sa.Column(
            "factor",
            sa.Numeric(precision=20, scale=10),
            nullable=False,
            comment="f in r_t = ln(close_t / (close_{t-1} * f))",
        ),
        sa.Column("source_id", sa.SmallInteger(), nullable=False),
        sa.Column("as_of", mysql.DATETIME(fsp=6), nullable=False, comment="When the source stated these values"),
        sa.Column("event_time", mysql.DATETIME(fsp=6), nullable=False, comment="When the message was put on the wire"),
        sa.Column("known_from", mysql.DATETIME(fsp=6), nullable=False, comment="The broker's time of the message"),
        sa.Column("version_hash", sa.BINARY(length=16), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("factor > 0", name=op.f("ck_corporate_action_revisions_factor")),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["ingest_batches.id"], name=op.f("fk_corporate_action_revisions_batch_id")
        ),
        sa.ForeignKeyConstraint(
            ["instrument_id"], ["instruments.id"], name=op.f("fk_corporate_action_revisions_instrument_id")
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["data_sources.id"], name=op.f("fk_corporate_action_revisions_source_id")
        ),
        sa.PrimaryKeyConstraint(
            "instrument_id", "ex_date", "kind", "version_hash", name=op.f("pk_corporate_action_revisions")
        ),
        comment="Every distinct version of a corporate action that is not in force, once each",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(
        op.f("ix_corporate_action_revisions_batch_id"), "corporate_action_revisions", ["batch_id"], unique=False
    )
    op.create_index(
        op.f("ix_corporate_action_revisions_source_id"), "corporate_action_revisions", ["source_id"], unique=False
    )
    op.create_table(
        "corporate_actions",
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("ex_date", sa.Date(), nullable=False),
        sa.Column("kind", mysql.ENUM("split", "dividend"), nullable=False),
        sa.Column(
            "factor",
            sa.Numeric(precision=20, scale=10),
            nullable=False,
            comment="f in r_t = ln(close_t / (close_{t-1} * f))",
        ),
        sa.Column("source_id", sa.SmallInteger(), nullable=False),
        sa.Column("as_of", mysql.DATETIME(fsp=6), nullable=False, comment="When the source stated these values"),
        sa.Column("event_time", mysql.DATETIME(fsp=6), nullable=False, comment="When the message was put on the wire"),
        sa.Column("known_from", mysql.DATETIME(fsp=6), nullable=False, comment="The broker's time of the message"),
        sa.Column("version_hash", sa.BINARY(length=16), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("factor > 0", name=op.f("ck_corporate_actions_factor")),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.id"], name=op.f("fk_corporate_actions_batch_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name=op.f("fk_corporate_actions_instrument_id")),
        sa.ForeignKeyConstraint(["source_id"], ["data_sources.id"], name=op.f("fk_corporate_actions_source_id")),
        sa.PrimaryKeyConstraint("instrument_id", "ex_date", "kind", name=op.f("pk_corporate_actions")),
        comment="The version in force of every split and dividend",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_corporate_actions_batch_id"), "corporate_actions", ["batch_id"], unique=False)
    op.create_index(op.f("ix_corporate_actions_source_id"), "corporate_actions", ["source_id"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition_no", sa.Integer(), nullable=False),
        sa.Column("kafka_offset", sa.BigInteger(), nullable=False),
        sa.Column("reason", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=32), nullable=False),
        sa.Column("detail", sa.String(length=512), nullable=False),
        sa.Column("message_key", sa.VARBINARY(length=512), nullable=True),
        sa.Column("payload", mysql.MEDIUMBLOB(), nullable=True),
        sa.Column("broker_time", mysql.DATETIME(fsp=6), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.id"], name=op.f("fk_dead_letters_batch_id")),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_dead_letters_stream_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
        sa.UniqueConstraint(
            "stream_id",
            "partition_no",
            "kafka_offset",
            name=op.f("uq_dead_letters_stream_id_partition_no_kafka_offset"),
        ),
        comment="Messages that broke the contract, whole, with the reason",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_dead_letters_batch_id"), "dead_letters", ["batch_id"], unique=False)
    op.create_index(op.f("ix_dead_letters_reason"), "dead_letters", ["reason"], unique=False)
    op.create_table(
        "forecasts",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("target", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("target_session", sa.Date(), nullable=False),
        sa.Column("model_version", mysql.VARCHAR(charset="ascii", collation="ascii_bin", length=64), nullable=False),
        sa.Column("known_session", sa.Date(), nullable=False, comment="Last session the forecast could see"),
        sa.Column("point", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("baseline", sa.Double(), nullable=False, comment="What the target's baseline said at the same time"),
        sa.Column("scale", sa.Double(), nullable=False, comment="Trailing scale the interval was stretched by"),
        sa.Column("coverage", sa.Double(), nullable=False, comment="Share of outcomes that low..high should hold"),
        sa.Column("late", sa.Boolean(), nullable=False, comment="A bar of its target session was stored before it"),
        sa.Column("issued_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.CheckConstraint("known_session < target_session", name=op.f("ck_forecasts_ahead")),
        sa.CheckConstraint("low <= point AND point <= high", name=op.f("ck_forecasts_interval")),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name=op.f("fk_forecasts_instrument_id")),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.version"], name=op.f("fk_forecasts_model_version")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_forecasts")),
        sa.UniqueConstraint(
            "instrument_id",
            "target",
            "target_session",
            "model_version",
            name=op.f("uq_forecasts_instrument_id_target_target_session_model_version"),
        ),
        comment="What was said, and when: append-only",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_forecasts_model_version"), "forecasts", ["model_version"], unique=False)
    op.create_table(
        "ingest_touches",
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("instrument_id", sa.Integer(), nullable=False),
        sa.Column("interval_id", sa.SmallInteger(), nullable=False),
        sa.Column("month", sa.Date(), nullable=False, comment="First day of the month of the sessions touched"),
        sa.ForeignKeyConstraint(["batch_id"], ["ingest_batches.id"], name=op.f("fk_ingest_touches_batch_id")),
        sa.ForeignKeyConstraint(["instrument_id"], ["instruments.id"], name=op.f("fk_ingest_touches_instrument_id")),
        sa.ForeignKeyConstraint(["interval_id"], ["bar_intervals.id"], name=op.f("fk_ingest_touches_interval_id")),
        sa.PrimaryKeyConstraint("batch_id", "instrument_id", "interval_id", "month", name=op.f("pk_ingest_touches")),
        comment="What a batch changed: what documents must be made again",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_index(op.f("ix_ingest_touches_instrument_id"), "ingest_touches", ["instrument_id"], unique=False)
    op.create_index(op.f("ix_ingest_touches_interval_id"), "ingest_touches", ["interval_id"], unique=False)
    op.create_table(
        "forecast_scores",
        sa.Column("forecast_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("realised", sa.Double(), nullable=False),
        sa.Column("error", sa.Double(), nullable=False, comment="realised - point"),
        sa.Column("baseline_error", sa.Double(), nullable=False, comment="realised - baseline"),
        sa.Column("covered", sa.Boolean(), nullable=False),
        sa.Column("direction_hit", sa.Boolean(), nullable=True, comment="NULL where there is no direction"),
        sa.Column("scored_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.ForeignKeyConstraint(["forecast_id"], ["forecasts.id"], name=op.f("fk_forecast_scores_forecast_id")),
        sa.PrimaryKeyConstraint("forecast_id", name=op.f("pk_forecast_scores")),
        comment="What happened to each forecast that was not late: append-only",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    op.create_table(
        "signals",
        sa.Column("forecast_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("side", mysql.ENUM("buy", "sell", "hold"), nullable=False),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column("created_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False),
        sa.ForeignKeyConstraint(["forecast_id"], ["forecasts.id"], name=op.f("fk_signals_forecast_id")),
        sa.PrimaryKeyConstraint("forecast_id", name=op.f("pk_signals")),
        comment="Signals of champions that passed the gate; not investment advice",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
        mysql_engine="InnoDB",
    )
    _seed()
    for name, table in APPEND_ONLY.items():
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {name}_no_{verb.lower()} BEFORE {verb} ON {table} FOR EACH ROW "
                f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{table} is append-only'"
            )
    for name, select in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {select}")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
    op.drop_table("signals")
    op.drop_table("forecast_scores")
    op.drop_table("ingest_touches")
    op.drop_table("forecasts")
    op.drop_table("dead_letters")
    op.drop_table("corporate_actions")
    op.drop_table("corporate_action_revisions")
    op.drop_table("bars")
    op.drop_table("bar_revisions")
    op.drop_table("stream_offsets")
    op.drop_table("instruments")
    op.drop_table("ingest_batches")
    op.drop_table("champions")
    op.drop_table("alert_acks")
    op.drop_table("streams")
    op.drop_table("sectors")
    op.drop_table("provider_quota")
    op.drop_table("model_versions")
    op.drop_table("heartbeats")
    op.drop_table("exchanges")
    op.drop_table("data_sources")
    op.drop_table("commands")
    op.drop_table("check_history")
    op.drop_table("bar_intervals")
    op.drop_table("alert_rules")
    op.drop_table("alert_outbox")
