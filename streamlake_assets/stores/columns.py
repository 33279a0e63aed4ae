"""What all tables of the store of record are made of: types of columns, names of keys, engine and charset.

Belongs here: the vocabulary of ``schema`` and ``alert_tables``. Stays out: the tables.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

Price = sa.Numeric(20, 10)
Volume = sa.Numeric(28, 10)
Moment = mysql.DATETIME(fsp=6)
Digest = sa.BINARY(16)
Ascii16 = mysql.VARCHAR(16, charset="ascii", collation="ascii_bin")
Ascii64 = mysql.VARCHAR(64, charset="ascii", collation="ascii_bin")
NOW = sa.text("CURRENT_TIMESTAMP(6)")


def table(name: str, *parts: Any, comment: str) -> sa.Table:
    """Return a table with the engine and the charset that all have."""
    return sa.Table(
        name,
        metadata,
        *parts,
        comment=comment,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_unicode_ci",
    )


def fk(target: str) -> sa.ForeignKey:
    """Return a reference to a column of another table."""
    return sa.ForeignKey(target)
