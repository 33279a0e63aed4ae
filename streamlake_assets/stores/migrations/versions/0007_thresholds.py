"""Alerts of another kind: limits on prices, volatility and forecasts."""

from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BEFORE = ("check", "freshness", "run", "sensor", "heartbeat", "process")
NOW = (*BEFORE, "threshold")
LOST = (
    "DELETE FROM alert_states WHERE kind = 'threshold'",
    "DELETE d FROM alert_deliveries d JOIN alert_outbox o ON o.id = d.alert_id WHERE o.kind = 'threshold'",
    "DELETE a FROM alert_acks a JOIN alert_outbox o ON o.id = a.alert_id WHERE o.kind = 'threshold'",
    "DELETE FROM alert_outbox WHERE kind = 'threshold'",
)


def upgrade() -> None:
    _kinds(BEFORE, NOW)


def downgrade() -> None:
    for statement in LOST:
        op.execute(statement)
    _kinds(NOW, BEFORE)


def _kinds(before: tuple[str, ...], now: tuple[str, ...]) -> None:
    op.alter_column(
        "alert_outbox",
        "kind",
        existing_type=mysql.ENUM(*before),
        type_=mysql.ENUM(*now),
        existing_nullable=False,
        existing_server_default="process",
        existing_comment="What rules choose by",
    )
    op.alter_column(
        "alert_states", "kind", existing_type=mysql.ENUM(*before), type_=mysql.ENUM(*now), existing_nullable=False
    )
