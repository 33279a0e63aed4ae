"""The tables of the store of record, MySQL: columns, keys and constraints, nothing that reads or writes them.

Every table names its engine, charset and collation, because server defaults differ (``latin1`` on some). Prices are
``DECIMAL(20,10)``, times ``DATETIME(6)`` in UTC. The words of identity: an instrument is (symbol, exchange); a bar is
(instrument, interval, bar_time); a place in a stream is (stream, partition_no, kafka_offset), where a stream is one
topic as created once on one cluster, so that a recreated topic is another stream.

``migrations`` brings a database to this state; a test holds the difference empty.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.stores import alert_tables, columns
from streamlake_assets.stores.columns import Ascii16, Ascii64, Digest, Moment, Price, Volume
from streamlake_assets.stores.columns import fk as _fk
from streamlake_assets.stores.columns import table as _table

metadata = columns.metadata
NOW = columns.NOW
STATUSES = ("provisional", "settled")
"""In the order of the ENUM, whose members count from 1."""
ACTION_KINDS = ("split", "dividend")
RESOLUTIONS = ("replayed", "dropped")
COMMAND_STATES = ("asked", "done", "failed")

exchanges = _table(
    "exchanges",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("mic", mysql.CHAR(4, charset="ascii", collation="ascii_bin"), nullable=False, unique=True),
    sa.Column("zone", Ascii64, nullable=False, comment="IANA time zone of its sessions"),
    comment="Markets by ISO 10383 code",
)
sectors = _table(
    "sectors",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    # binary: two spellings are two names, whichever came first
    sa.Column("name", mysql.VARCHAR(128, charset="utf8mb4", collation="utf8mb4_bin"), nullable=False, unique=True),
    comment="Sectors, as sources name them",
)
instruments = _table(
    "instruments",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("symbol", Ascii16, nullable=False),
    sa.Column("exchange_id", sa.Integer, _fk("exchanges.id"), nullable=False, index=True),
    sa.Column("asset_class", Ascii16, nullable=False),
    sa.Column("name", sa.String(128)),
    sa.Column("sector_id", sa.Integer, _fk("sectors.id"), index=True),
    sa.Column("currency", Ascii16),
    sa.Column("described_as_of", Moment, comment="as_of of the message that described it"),
    sa.UniqueConstraint("symbol", "exchange_id"),
    comment="What is traded",
)
data_sources = _table(
    "data_sources",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", Ascii64, nullable=False, unique=True),
    sa.Column("source_rank", sa.SmallInteger, nullable=False, comment="The higher rank wins between versions of a bar"),
    comment="Providers and data sets, ranked",
)
calendar_sessions = _table(
    "calendar_sessions",
    sa.Column("calendar", Ascii16, primary_key=True, comment="ISO 10383 code of the market"),
    sa.Column("session_date", sa.Date, primary_key=True),
    comment="Sessions of markets by their calendars, for the views: no server knows them",
)
bar_intervals = _table(
    "bar_intervals",
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("name", mysql.CHAR(3, charset="ascii", collation="ascii_bin"), nullable=False, unique=True),
    sa.Column("seconds", sa.Integer, nullable=False),
    comment="Lengths of bars",
)

streams = _table(
    "streams",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("cluster_id", Ascii64, nullable=False),
    sa.Column("topic_id", Ascii64, nullable=False),
    sa.Column("topic", sa.String(249), nullable=False),
    sa.Column("first_seen", Moment, nullable=False, server_default=NOW),
    sa.UniqueConstraint("cluster_id", "topic_id"),
    comment="Topics, each as created once on one cluster",
)
stream_offsets = _table(
    "stream_offsets",
    sa.Column("stream_id", sa.Integer, _fk("streams.id"), primary_key=True),
    sa.Column("partition_no", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False, comment="First offset that is not in the tables yet"),
    sa.Column("updated_at", Moment, nullable=False, server_default=NOW),
    comment="How far each partition is in the tables; moved only by compare-and-set, with the rows",
)
stopped_partitions = _table(
    "stopped_partitions",
    sa.Column("stream_id", sa.Integer, _fk("streams.id"), primary_key=True),
    sa.Column("partition_no", sa.Integer, primary_key=True),
    sa.Column("next_offset", sa.BigInteger, nullable=False, comment="Where it goes on when it is let go"),
    sa.Column("reason", sa.String(512), nullable=False),
    sa.Column("stopped_at", Moment, nullable=False, server_default=NOW),
    sa.Column("released_at", Moment, comment="NULL: stopped; else its dead letters count from next_offset on"),
    comment="Partitions that too many bad messages stopped; no consumer reads them until they are released",
)
ingest_batches = _table(
    "ingest_batches",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("stream_id", sa.Integer, _fk("streams.id"), nullable=False),
    sa.Column("partition_no", sa.Integer, nullable=False),
    sa.Column("first_offset", sa.BigInteger, nullable=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
    sa.Column("messages", sa.Integer, nullable=False),
    sa.Column("new", sa.Integer, nullable=False),
    sa.Column("changed", sa.Integer, nullable=False),
    sa.Column("same", sa.Integer, nullable=False),
    sa.Column("older", sa.Integer, nullable=False),
    sa.Column("dead", sa.Integer, nullable=False),
    sa.Column("versions", sa.Integer, nullable=False, comment="Versions that this batch was the first to bring"),
    sa.Column("consumer", sa.String(128), nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    sa.UniqueConstraint("stream_id", "partition_no", "first_offset"),
    sa.CheckConstraint("next_offset > first_offset", name="range"),
    sa.CheckConstraint("messages = `new` + changed + same + older + dead", name="sum"),
    sa.CheckConstraint("versions BETWEEN `new` + changed AND `new` + changed + older", name="versions"),
    comment="One row for each partition in each transaction: which messages, and what became of them",
)
ingest_touches = _table(
    "ingest_touches",
    sa.Column("batch_id", sa.BigInteger, _fk("ingest_batches.id"), primary_key=True),
    sa.Column("instrument_id", sa.Integer, _fk("instruments.id"), primary_key=True, index=True),
    sa.Column("interval_id", sa.SmallInteger, _fk("bar_intervals.id"), primary_key=True, index=True),
    sa.Column("month", sa.Date, primary_key=True, comment="First day of the month of the sessions touched"),
    comment="What a batch changed: what documents must be made again",
)


def _version_columns(in_key: bool) -> list[sa.Column[Any]]:
    return [
        sa.Column("source_id", sa.Integer, _fk("data_sources.id"), nullable=False, index=True),
        sa.Column("as_of", Moment, nullable=False, comment="When the source stated these values"),
        sa.Column("event_time", Moment, nullable=False, comment="When the message was put on the wire"),
        sa.Column("known_from", Moment, nullable=False, comment="The broker's time of the message"),
        sa.Column("version_hash", Digest, nullable=False, primary_key=in_key),
        sa.Column("batch_id", sa.BigInteger, _fk("ingest_batches.id"), nullable=False, index=True),
        sa.Column("kafka_offset", sa.BigInteger, nullable=False),
    ]


def _bar_columns(in_key: bool = False) -> list[sa.Column[Any]]:
    return [
        sa.Column("instrument_id", sa.Integer, _fk("instruments.id"), primary_key=True),
        sa.Column("interval_id", sa.SmallInteger, _fk("bar_intervals.id"), primary_key=True),
        sa.Column("bar_time", Moment, primary_key=True, comment="Start of the bar, UTC"),
        sa.Column("session_date", sa.Date, nullable=False, comment="The exchange's date of the bar"),
        sa.Column("open", Price, nullable=False),
        sa.Column("high", Price, nullable=False),
        sa.Column("low", Price, nullable=False),
        sa.Column("close", Price, nullable=False),
        sa.Column("volume", Volume),
        sa.Column("vwap", Price),
        sa.Column("trades", sa.BigInteger),
        sa.Column("status", mysql.ENUM(*STATUSES), nullable=False),
        sa.Column("synthetic", sa.Boolean, nullable=False),
        *_version_columns(in_key),
    ]


def _bar_rules() -> list[sa.CheckConstraint]:
    return [
        sa.CheckConstraint(
            "high >= `open` AND high >= `close` AND high >= low AND low <= `open` AND low <= `close`", name="ohlc"
        ),
        sa.CheckConstraint("volume >= 0", name="volume"),
    ]


bars = _table(
    "bars",
    *_bar_columns(),
    *_bar_rules(),
    sa.Index("ix_bars_interval_session", "interval_id", "session_date"),
    comment="The version in force of every bar, raw prices",
)
bar_revisions = _table(
    "bar_revisions",
    *_bar_columns(in_key=True),
    *_bar_rules(),
    sa.Index("ix_bar_revisions_interval", "interval_id"),
    comment="Every distinct version of a bar that is not in force, once each",
)


def _action_columns(in_key: bool = False) -> list[sa.Column[Any]]:
    return [
        sa.Column("instrument_id", sa.Integer, _fk("instruments.id"), primary_key=True),
        sa.Column("ex_date", sa.Date, primary_key=True),
        sa.Column("kind", mysql.ENUM(*ACTION_KINDS), primary_key=True),
        sa.Column("factor", Price, nullable=False, comment="f in r_t = ln(close_t / (close_{t-1} * f))"),
        *_version_columns(in_key),
    ]


corporate_actions = _table(
    "corporate_actions",
    *_action_columns(),
    sa.CheckConstraint("factor > 0", name="factor"),
    comment="The version in force of every split and dividend",
)
corporate_action_revisions = _table(
    "corporate_action_revisions",
    *_action_columns(in_key=True),
    sa.CheckConstraint("factor > 0", name="factor"),
    comment="Every distinct version of a corporate action that is not in force, once each",
)
dead_letters = _table(
    "dead_letters",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("stream_id", sa.Integer, _fk("streams.id"), nullable=False),
    sa.Column("partition_no", sa.Integer, nullable=False),
    sa.Column("kafka_offset", sa.BigInteger, nullable=False),
    sa.Column("reason", mysql.VARCHAR(32, charset="ascii", collation="ascii_bin"), nullable=False, index=True),
    sa.Column("detail", sa.String(512), nullable=False),
    sa.Column("message_key", mysql.VARBINARY(512)),
    sa.Column("payload", mysql.MEDIUMBLOB),
    sa.Column("broker_time", Moment, nullable=False),
    sa.Column("batch_id", sa.BigInteger, _fk("ingest_batches.id"), nullable=False, index=True),
    sa.Column("resolution", mysql.ENUM(*RESOLUTIONS), comment="NULL: open"),
    sa.Column("resolved_at", Moment),
    sa.Column("resolved_by", sa.String(128)),
    sa.Column("replay_offset", sa.BigInteger, comment="Its place in the stream of replays"),
    sa.UniqueConstraint("stream_id", "partition_no", "kafka_offset"),
    sa.CheckConstraint("(resolution IS NULL) = (resolved_at IS NULL)", name="resolved"),
    comment="Messages that broke the contract, whole, with the reason",
)

model_versions = _table(
    "model_versions",
    sa.Column("version", Ascii64, primary_key=True),
    sa.Column("engine", Ascii64, nullable=False),
    sa.Column("target", Ascii64, nullable=False, index=True),
    sa.Column("spec_name", Ascii64, nullable=False),
    sa.Column("data_hash", Ascii64, nullable=False),
    sa.Column("skill", sa.Double),
    sa.Column("skill_low", sa.Double),
    sa.Column("skill_high", sa.Double),
    sa.Column("has_skill", sa.Boolean, nullable=False),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    comment="Every model ever registered; version 0 of a target is its baseline",
)
champions = _table(
    "champions",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("target", Ascii64, nullable=False, index=True),
    sa.Column("version", Ascii64, _fk("model_versions.version"), nullable=False, index=True),
    sa.Column("reason", sa.String(512), nullable=False),
    sa.Column("since", Moment, nullable=False, server_default=NOW),
    comment="Which model spoke for a target from when on; the last row of a target is in force",
)
forecasts = _table(
    "forecasts",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("instrument_id", sa.Integer, _fk("instruments.id"), nullable=False),
    sa.Column("target", Ascii64, nullable=False),
    sa.Column("target_session", sa.Date, nullable=False),
    sa.Column("model_version", Ascii64, _fk("model_versions.version"), nullable=False, index=True),
    sa.Column("known_session", sa.Date, nullable=False, comment="Last session the forecast could see"),
    sa.Column("point", sa.Double, nullable=False),
    sa.Column("low", sa.Double, nullable=False),
    sa.Column("high", sa.Double, nullable=False),
    sa.Column("baseline", sa.Double, nullable=False, comment="What the target's baseline said at the same time"),
    sa.Column("scale", sa.Double, nullable=False, comment="Trailing scale the interval was stretched by"),
    sa.Column("coverage", sa.Double, nullable=False, comment="Share of outcomes that low..high should hold"),
    sa.Column("late", sa.Boolean, nullable=False, comment="A bar of its target session was stored before it"),
    sa.Column("issued_at", Moment, nullable=False, server_default=NOW),
    sa.UniqueConstraint("instrument_id", "target", "target_session", "model_version"),
    sa.CheckConstraint("low <= point AND point <= high", name="interval"),
    sa.CheckConstraint("known_session < target_session", name="ahead"),
    comment="What was said, and when: append-only",
)
forecast_scores = _table(
    "forecast_scores",
    sa.Column("forecast_id", sa.BigInteger, _fk("forecasts.id"), primary_key=True, autoincrement=False),
    sa.Column("realised", sa.Double, nullable=False),
    sa.Column("error", sa.Double, nullable=False, comment="realised - point"),
    sa.Column("baseline_error", sa.Double, nullable=False, comment="realised - baseline"),
    sa.Column("covered", sa.Boolean, nullable=False),
    sa.Column("direction_hit", sa.Boolean, comment="NULL where there is no direction"),
    sa.Column("scored_at", Moment, nullable=False, server_default=NOW),
    comment="What happened to each forecast that was not late: append-only",
)
signals = _table(
    "signals",
    sa.Column("forecast_id", sa.BigInteger, _fk("forecasts.id"), primary_key=True, autoincrement=False),
    sa.Column("side", mysql.ENUM("buy", "sell", "hold"), nullable=False),
    sa.Column("reason", sa.String(512), nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    comment="Signals of champions that passed the gate; not investment advice",
)

alert_rules = alert_tables.alert_rules
alert_outbox = alert_tables.alert_outbox
alert_acks = alert_tables.alert_acks
alert_states = alert_tables.alert_states
alert_deliveries = alert_tables.alert_deliveries
check_history = _table(
    "check_history",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("asset", sa.String(190), nullable=False),
    sa.Column("check_name", sa.String(128), nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("severity", mysql.ENUM("warn", "error"), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
    sa.Column("evaluated_at", Moment, nullable=False, server_default=NOW),
    sa.Index("ix_check_history_asset", "asset", "check_name", "evaluated_at"),
    comment="Asset checks over time, for pages that do not speak to Dagster",
)
commands = _table(
    "commands",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("verb", Ascii64, nullable=False),
    sa.Column("arguments", sa.JSON, nullable=False),
    sa.Column("requested_by", sa.String(128), nullable=False),
    sa.Column("requested_at", Moment, nullable=False, server_default=NOW),
    sa.Column("done_at", Moment),
    sa.Column("result", sa.String(512)),
    sa.Column("request", Ascii64, nullable=False, unique=True, comment="Made by who asks: asked twice is asked once"),
    sa.Column("state", mysql.ENUM(*COMMAND_STATES), nullable=False, server_default="asked"),
    sa.Column("taken_at", Moment, comment="When it was begun last"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0"), comment="How often it was begun"),
    sa.Index("ix_commands_state", "state"),
    comment="What pages ask the processes beside Dagster to do",
)
replays = _table(
    "replays",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("paused", sa.Boolean, nullable=False, server_default=sa.text("0"), comment="Whether it is to wait"),
    sa.Column("per_minute", sa.Double, comment="Sessions a minute; NULL: without pauses"),
    sa.Column("revealed", sa.Integer, nullable=False, server_default=sa.text("0"), comment="Sessions so far"),
    sa.Column("total", sa.Integer, nullable=False, comment="Sessions in all"),
    sa.Column("session", sa.Date, comment="Newest session revealed"),
    sa.Column("started_at", Moment, nullable=False, server_default=NOW),
    sa.Column("beat_at", Moment, nullable=False, server_default=NOW, comment="When it was heard of last"),
    sa.Column("ended_at", Moment, comment="NULL: it has not said that it ended"),
    comment="Replays of sessions: how far they have come, how they are to go on",
)
heartbeats = _table(
    "heartbeats",
    sa.Column("process", Ascii64, primary_key=True),
    sa.Column("beat_at", Moment, nullable=False, server_default=NOW),
    sa.Column("state", sa.JSON, nullable=False),
    comment="Last sign of life of each process beside Dagster, and what it was doing",
)
provider_quota = _table(
    "provider_quota",
    sa.Column("provider", Ascii64, primary_key=True),
    sa.Column("window_start", Moment, primary_key=True),
    sa.Column("window_seconds", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("calls", sa.Integer, nullable=False),
    comment="Calls made to each market-data provider in each window",
)

APPEND_ONLY = ("forecasts", "forecast_scores")
"""Tables whose rows may never be changed or removed; triggers and grants both hold it."""
