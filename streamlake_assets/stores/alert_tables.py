"""The tables of alerts, as ``schema`` names them: what is how, what changed, who was told, who has seen it.

Belongs here: columns and keys of alert tables. Stays out: who reads and writes them (``alert_states`` …).
"""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from streamlake_assets.stores.columns import NOW, Ascii64, Moment, fk, table

KINDS = ("check", "freshness", "run", "sensor", "heartbeat", "process", "threshold")
SEVERITIES = ("info", "warning", "error")

alert_rules = table(
    "alert_rules",
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("name", Ascii64, nullable=False, unique=True),
    sa.Column("definition", sa.JSON, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False, server_default=sa.text("1")),
    comment="What raises an alert",
)
alert_outbox = table(
    "alert_outbox",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("dedupe_key", sa.String(190), nullable=False, unique=True),
    sa.Column("state", mysql.ENUM("raised", "recovered"), nullable=False),
    sa.Column("severity", mysql.ENUM(*SEVERITIES), nullable=False),
    sa.Column("subject", sa.String(255), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=NOW),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("sent_at", Moment),
    sa.Column(
        "kind",
        mysql.ENUM(*KINDS),
        nullable=False,
        server_default="process",
        comment="What rules choose by",
    ),
    sa.Column("name", sa.String(190), comment="What it is about"),
    sa.Column(
        "worst",
        mysql.ENUM(*SEVERITIES),
        nullable=False,
        server_default="error",
        comment="The worse of before and after: what rules compare",
    ),
    sa.Column("routed_at", Moment, comment="NULL: no rule has looked at it yet"),
    sa.Index("ix_alert_outbox_routed", "routed_at"),
    sa.Index("ix_alert_outbox_name", "kind", "name"),
    comment="Alerts on their way out; a failed delivery leaves the row",
)
alert_acks = table(
    "alert_acks",
    sa.Column("alert_id", sa.BigInteger, fk("alert_outbox.id"), primary_key=True, autoincrement=False),
    sa.Column("acked_by", sa.String(128), nullable=False),
    sa.Column("acked_at", Moment, nullable=False, server_default=NOW),
    comment="Who has seen an alert",
)
alert_states = table(
    "alert_states",
    sa.Column("subject", mysql.VARCHAR(190, charset="utf8mb4", collation="utf8mb4_bin"), primary_key=True),
    sa.Column("kind", mysql.ENUM(*KINDS), nullable=False),
    sa.Column("name", sa.String(190), nullable=False),
    sa.Column("state", mysql.ENUM("pass", "warn", "error", "crashed"), nullable=False),
    sa.Column("seen", sa.BigInteger, nullable=False, comment="Order of the last observation that was judged"),
    sa.Column("edges", sa.Integer, nullable=False, comment="Changes of state so far"),
    sa.Column("since", Moment, nullable=False, server_default=NOW),
    sa.Column(
        "alert_id", sa.BigInteger, fk("alert_outbox.id"), index=True, comment="Alert about the last change of state"
    ),
    comment="How each subject of alerts is: compared with, in the transaction that writes an edge",
)
alert_deliveries = table(
    "alert_deliveries",
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("alert_id", sa.BigInteger, fk("alert_outbox.id"), nullable=False),
    sa.Column("target", Ascii64, nullable=False),
    sa.Column("state", mysql.ENUM("waiting", "delivered", "folded", "given_up"), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("delivered_at", Moment),
    sa.Column("message", Ascii64, comment="Id of the message it went in; a digest has many"),
    sa.Column("response", sa.String(512), comment="What the target said last"),
    sa.UniqueConstraint("alert_id", "target"),
    sa.Index("ix_alert_deliveries_due", "target", "state", "due_at"),
    comment="Each alert on its way to each target, with the proof that it arrived",
)
