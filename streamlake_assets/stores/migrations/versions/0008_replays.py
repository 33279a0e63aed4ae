"""Replays that can be paused and given another pace while they run."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

MOMENT = mysql.DATETIME(fsp=6)
NOW = sa.text("CURRENT_TIMESTAMP(6)")


def upgrade() -> None:
    op.create_table(
        "replays",
        sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("0"), nullable=False, comment="Whether it is to wait"),
        sa.Column("per_minute", sa.Double(), nullable=True, comment="Sessions a minute; NULL: without pauses"),
        sa.Column("revealed", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="Sessions so far"),
        sa.Column("total", sa.Integer(), nullable=False, comment="Sessions in all"),
        sa.Column("session", sa.Date(), nullable=True, comment="Newest session revealed"),
        sa.Column("started_at", MOMENT, server_default=NOW, nullable=False),
        sa.Column("beat_at", MOMENT, server_default=NOW, nullable=False, comment="When it was heard of last"),
        sa.Column("ended_at", MOMENT, nullable=True, comment="NULL: it has not said that it ended"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replays")),
        comment="Replays of sessions: how far they have come, how they are to go on",
    )


def downgrade() -> None:
    op.drop_table("replays")
