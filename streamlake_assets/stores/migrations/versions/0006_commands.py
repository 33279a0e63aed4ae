"""Commands that are carried out: asked once however often, in a state, begun again when nobody finished them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

REQUEST = mysql.VARCHAR(64, charset="ascii", collation="ascii_bin")
MADE_BY = "Made by who asks: asked twice is asked once"


def upgrade() -> None:
    op.add_column("commands", sa.Column("request", REQUEST, nullable=True, comment=MADE_BY))
    op.add_column(
        "commands",
        sa.Column("state", mysql.ENUM("asked", "done", "failed"), server_default="asked", nullable=False),
    )
    op.add_column("commands", sa.Column("taken_at", mysql.DATETIME(fsp=6), nullable=True, comment="When it was begun last"))
    op.add_column(
        "commands",
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="How often it was begun"),
    )
    # nothing carried commands out before
    op.execute("UPDATE commands SET request = CONCAT('before-', id), state = 'failed'")
    op.alter_column("commands", "request", existing_type=REQUEST, nullable=False, existing_comment=MADE_BY)
    op.create_unique_constraint(op.f("uq_commands_request"), "commands", ["request"])
    op.create_index("ix_commands_state", "commands", ["state"])


def downgrade() -> None:
    op.drop_index("ix_commands_state", "commands")
    op.drop_constraint(op.f("uq_commands_request"), "commands", type_="unique")
    for column in ("attempts", "taken_at", "state", "request"):
        op.drop_column("commands", column)
