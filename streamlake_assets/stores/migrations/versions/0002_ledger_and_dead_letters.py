"""Count ledger and dead letters: versions of each batch, resolutions, stopped partitions; ids that do not run out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

FACTS = ("bars", "bar_revisions", "corporate_actions", "corporate_action_revisions")
# names that messages may invent: table, and who points to it by which column, which may be empty or not
NAMED = {
    "exchanges": [("instruments", "exchange_id", False)],
    "sectors": [("instruments", "sector_id", True)],
    "data_sources": [(fact, "source_id", False) for fact in FACTS],
}


def _count_versions() -> None:
    """Count what the batches of the first schema brought: a version's row carries the batch that first brought it."""
    batches = sa.table("ingest_batches", sa.column("id"), sa.column("versions"))
    counts = []
    for name in FACTS:
        fact = sa.table(name, sa.column("batch_id"))
        counts.append(
            sa.select(sa.func.count()).select_from(fact).where(fact.c.batch_id == batches.c.id).scalar_subquery()
        )
    op.execute(sa.update(batches).values(versions=sum(counts[1:], counts[0])))


def _retype_ids(before: type[sa.Integer], after: type[sa.Integer]) -> None:
    """Give names that messages may invent ids of another width, and those that point to them."""
    for named, pointers in NAMED.items():
        for table, column, _ in pointers:
            op.drop_constraint(op.f(f"fk_{table}_{column}"), table, type_="foreignkey")
        op.alter_column(
            named, "id", existing_type=before(), type_=after(), existing_nullable=False, autoincrement=True
        )
        for table, column, nullable in pointers:
            op.alter_column(table, column, existing_type=before(), type_=after(), existing_nullable=nullable)
            op.create_foreign_key(op.f(f"fk_{table}_{column}"), table, named, [column], ["id"])


def upgrade() -> None:
    _retype_ids(sa.SmallInteger, sa.Integer)
    op.add_column(
        "ingest_batches",
        sa.Column("versions", sa.Integer(), nullable=True, comment="Versions that this batch was the first to bring"),
    )
    _count_versions()
    op.alter_column(
        "ingest_batches",
        "versions",
        existing_type=sa.Integer(),
        existing_comment="Versions that this batch was the first to bring",
        nullable=False,
    )
    op.create_check_constraint(
        op.f("ck_ingest_batches_versions"),
        "ingest_batches",
        "versions BETWEEN `new` + changed AND `new` + changed + older",
    )
    op.add_column(
        "dead_letters", sa.Column("resolution", mysql.ENUM("replayed", "dropped"), nullable=True, comment="NULL: open")
    )
    op.add_column("dead_letters", sa.Column("resolved_at", mysql.DATETIME(fsp=6), nullable=True))
    op.add_column("dead_letters", sa.Column("resolved_by", sa.String(length=128), nullable=True))
    op.add_column(
        "dead_letters",
        sa.Column("replay_offset", sa.BigInteger(), nullable=True, comment="Its place in the stream of replays"),
    )
    op.create_check_constraint(
        op.f("ck_dead_letters_resolved"), "dead_letters", "(resolution IS NULL) = (resolved_at IS NULL)"
    )
    op.create_table(
        "stopped_partitions",
        sa.Column("stream_id", sa.Integer(), nullable=False),
        sa.Column("partition_no", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False, comment="Where it goes on when it is let go"),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column(
            "stopped_at", mysql.DATETIME(fsp=6), server_default=sa.text("CURRENT_TIMESTAMP(6)"), nullable=False
        ),
        sa.Column(
            "released_at",
            mysql.DATETIME(fsp=6),
            nullable=True,
            comment="NULL: stopped; else its dead letters count from next_offset on",
        ),
        sa.ForeignKeyConstraint(["stream_id"], ["streams.id"], name=op.f("fk_stopped_partitions_stream_id")),
        sa.PrimaryKeyConstraint("stream_id", "partition_no", name=op.f("pk_stopped_partitions")),
        comment="Partitions that too many bad messages stopped; no consumer reads them until they are released",
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
    )


def downgrade() -> None:
    op.drop_table("stopped_partitions")
    op.drop_constraint(op.f("ck_dead_letters_resolved"), "dead_letters", type_="check")
    for column in ("replay_offset", "resolved_by", "resolved_at", "resolution"):
        op.drop_column("dead_letters", column)
    op.drop_constraint(op.f("ck_ingest_batches_versions"), "ingest_batches", type_="check")
    op.drop_column("ingest_batches", "versions")
    _retype_ids(sa.Integer, sa.SmallInteger)
