"""Sessions of markets by their calendars: what views measure completeness by."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calendar_sessions",
        sa.Column(
            "calendar",
            mysql.VARCHAR(16, charset="ascii", collation="ascii_bin"),
            nullable=False,
            comment="ISO 10383 code of the market",
        ),
        sa.Column("session_date", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("calendar", "session_date", name=op.f("pk_calendar_sessions")),
        comment="Sessions of markets by their calendars, for the views: no server knows them",
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
    )


def downgrade() -> None:
    op.drop_table("calendar_sessions")
