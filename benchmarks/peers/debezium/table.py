"""The table that the Debezium sink writes: the columns of ``bars`` that a message carries, of the same types.

The sink cannot look ids up, so symbol, interval and source stand in the row as text and there are no foreign keys; it
cannot compute the session's date, the version's hash or the batch, so these columns and the broker's time are missing
(14 columns against 20). Key, checks and one index for each of ours that it has the columns for are the same. It never
asks which version of a bar wins. All in all its task is easier than ours.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from benchmarks.checks import SINK_TABLE
from streamlake_assets.stores.columns import Ascii16, Ascii64, Moment, Price, Volume
from streamlake_assets.stores.schema import STATUSES

BARS_SINK = sa.Table(
    SINK_TABLE,
    sa.MetaData(),
    sa.Column("symbol", Ascii16, primary_key=True),
    sa.Column("interval", mysql.CHAR(3, charset="ascii", collation="ascii_bin"), primary_key=True),
    sa.Column("bar_time", Moment, primary_key=True),
    sa.Column("exchange", mysql.CHAR(4, charset="ascii", collation="ascii_bin"), nullable=False),
    sa.Column("open", Price, nullable=False),
    sa.Column("high", Price, nullable=False),
    sa.Column("low", Price, nullable=False),
    sa.Column("close", Price, nullable=False),
    sa.Column("volume", Volume),
    sa.Column("status", mysql.ENUM(*STATUSES), nullable=False),
    sa.Column("synthetic", sa.Boolean, nullable=False),
    sa.Column("source", Ascii64, nullable=False, index=True),
    sa.Column("as_of", Moment, nullable=False),
    sa.Column("event_time", Moment, nullable=False),
    sa.CheckConstraint(
        "high >= `open` AND high >= `close` AND high >= low AND low <= `open` AND low <= `close`", name="sink_ohlc"
    ),
    sa.CheckConstraint("volume >= 0", name="sink_volume"),
    sa.Index("ix_bars_sink_interval", "interval", "bar_time"),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_unicode_ci",
)
