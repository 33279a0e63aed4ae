"""Alerts that arrive: the state of each subject, what an alert is about, and the proof of each delivery."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OPTIONS = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_unicode_ci"}
KINDS = ("check", "freshness", "run", "sensor", "heartbeat", "process")
SEVERITIES = ("info", "warning", "error")


def upgrade() -> None:
    ascii64 = mysql.VARCHAR(64, charset="ascii", collation="ascii_bin")
    subject = mysql.VARCHAR(190, charset="utf8mb4", collation="utf8mb4_bin")
    moment = mysql.DATETIME(fsp=6)
    now = sa.text("CURRENT_TIMESTAMP(6)")
    op.add_column(
        "alert_outbox",
        sa.Column("kind", mysql.ENUM(*KINDS), server_default="process", nullable=False, comment="What rules choose by"),
    )
    op.add_column("alert_outbox", sa.Column("name", sa.String(190), nullable=True, comment="What it is about"))
    op.add_column(
        "alert_outbox",
        sa.Column(
            "worst",
            mysql.ENUM(*SEVERITIES),
            server_default="error",
            nullable=False,
            comment="The worse of before and after: what rules compare",
        ),
    )
    op.add_column(
        "alert_outbox", sa.Column("routed_at", moment, nullable=True, comment="NULL: no rule has looked at it yet")
    )
    op.create_index("ix_alert_outbox_routed", "alert_outbox", ["routed_at"])
    op.create_index("ix_alert_outbox_name", "alert_outbox", ["kind", "name"])
    # what was raised before there was a delivery is no news
    op.execute("UPDATE alert_outbox SET routed_at = CURRENT_TIMESTAMP(6)")
    op.create_table(
        "alert_states",
        sa.Column("subject", subject, nullable=False),
        sa.Column("kind", mysql.ENUM(*KINDS), nullable=False),
        sa.Column("name", sa.String(190), nullable=False),
        sa.Column("state", mysql.ENUM("pass", "warn", "error", "crashed"), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False, comment="Order of the last observation that was judged"),
        sa.Column("edges", sa.Integer(), nullable=False, comment="Changes of state so far"),
        sa.Column("since", moment, server_default=now, nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=True, comment="Alert about the last change of state"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert_outbox.id"], name=op.f("fk_alert_states_alert_id")),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_alert_states")),
        comment="How each subject of alerts is: compared with, in the transaction that writes an edge",
        **OPTIONS,
    )
    op.create_index(op.f("ix_alert_states_alert_id"), "alert_states", ["alert_id"])
    op.create_table(
        "alert_deliveries",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column("target", ascii64, nullable=False),
        sa.Column("state", mysql.ENUM("waiting", "delivered", "folded", "given_up"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("delivered_at", moment, nullable=True),
        sa.Column("message", ascii64, nullable=True, comment="Id of the message it went in; a digest has many"),
        sa.Column("response", sa.String(512), nullable=True, comment="What the target said last"),
        sa.ForeignKeyConstraint(["alert_id"], ["alert_outbox.id"], name=op.f("fk_alert_deliveries_alert_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_deliveries")),
        sa.UniqueConstraint("alert_id", "target", name=op.f("uq_alert_deliveries_alert_id_target")),
        comment="Each alert on its way to each target, with the proof that it arrived",
        **OPTIONS,
    )
    op.create_index("ix_alert_deliveries_due", "alert_deliveries", ["target", "state", "due_at"])


def downgrade() -> None:
    op.drop_table("alert_deliveries")
    op.drop_table("alert_states")
    op.drop_index("ix_alert_outbox_name", "alert_outbox")
    op.drop_index("ix_alert_outbox_routed", "alert_outbox")
    for column in ("routed_at", "worst", "name", "kind"):
        op.drop_column("alert_outbox", column)
