"""Bringing a database to the schema of this version, and giving each user its least rights.

Belongs here: running Alembic, and the grants table. Stays out: the tables themselves (``schema``, ``migrations``).
"""

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext

from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores.mysql import outages_as_try_later
from streamlake_assets.stores.schema import APPEND_ONLY, commands, metadata

VIEW_PREFIX: Final = "bi_"
LOCAL_HOSTS: Final = ("127.0.0.1", "localhost")
WRITER_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
APPEND_RIGHTS: Final = ("SELECT", "INSERT")
ASK_RIGHTS: Final = ("SELECT", "INSERT (`request`, `verb`, `arguments`, `requested_by`)")
"""What a page's actions may do with ``commands``: say what is wanted, never that it was done."""


def upgrade(engine: sa.Engine, revision: str = "head") -> str:
    """Migrate the schema; return the revision in force afterwards.

    Raises:
        TryLaterError: the database is not available.
    """
    with outages_as_try_later("migrating"), engine.connect() as connection:
        command.upgrade(_config(connection), revision)
        connection.commit()
        return MigrationContext.configure(connection).get_current_revision() or ""


def downgrade(engine: sa.Engine, revision: str) -> None:
    """Migrate back to a revision (``base``: an empty schema). Data of dropped tables are gone."""
    with engine.connect() as connection:
        command.downgrade(_config(connection), revision)
        connection.commit()


def make_revision(engine: sa.Engine, message: str, revision_id: str) -> None:
    """Write a new migration from the difference between the database and ``schema``; review it by hand."""
    with engine.connect() as connection:
        command.revision(_config(connection), message=message, autogenerate=True, rev_id=revision_id)


def differences(engine: sa.Engine) -> list[object]:
    """Return what a migration would still have to change; empty when database and ``schema`` agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))


def grant_rights(engine: sa.Engine) -> None:
    """Give writer, reader, bi and actions their rights, table by table; run by the migrate user, repeatable.

    The writer may not change or remove rows of append-only tables; the reader reads tables; bi sees the views only;
    actions asks for commands and knows nothing else.
    Only the users of the local server and of the deployment have known names: on a database of your own, where you
    migrate as somebody else, you choose who reads, and nothing is granted. The users are expected from where the
    migrate user may come: this machine's addresses, or in a deployment the host its account names.
    """
    with outages_as_try_later("granting rights"), engine.connect() as connection:
        user, _, host = connection.execute(sa.text("SELECT CURRENT_USER()")).scalar_one().rpartition("@")
        if user != _user(DatabaseRole.MIGRATE):
            return
        hosts = LOCAL_HOSTS if host in LOCAL_HOSTS else (host,)
        database = connection.execute(sa.text("SELECT DATABASE()")).scalar_one()
        tables = [table.name for table in metadata.sorted_tables]
        views = [name for name in sa.inspect(connection).get_view_names() if name.startswith(VIEW_PREFIX)]
        grants = [(role, f"`{name}`", rights) for role, name, rights in rights_table(tables, views)]
        # a bulk load stages its rows in a table of its own connection
        grants.append((DatabaseRole.WRITER, "*", ("CREATE TEMPORARY TABLES",)))
        for role, on, rights in grants:
            for host in hosts:
                to = f"'{_user(role)}'@'{host}'"
                connection.execute(sa.text(f"GRANT {', '.join(rights)} ON `{database}`.{on} TO {to}"))
        connection.commit()


def rights_table(tables: list[str], views: list[str]) -> list[tuple[DatabaseRole, str, tuple[str, ...]]]:
    """Return who may do what on which table or view: the whole list of grants."""
    rights: list[tuple[DatabaseRole, str, tuple[str, ...]]] = []
    for table in tables:
        rights.append((DatabaseRole.WRITER, table, APPEND_RIGHTS if table in APPEND_ONLY else WRITER_RIGHTS))
        rights.append((DatabaseRole.READER, table, ("SELECT",)))
        if table == commands.name:
            rights.append((DatabaseRole.ACTIONS, table, ASK_RIGHTS))
    for view in views:
        rights.append((DatabaseRole.READER, view, ("SELECT",)))
        rights.append((DatabaseRole.BI, view, ("SELECT",)))
    return rights


def _user(role: DatabaseRole) -> str:
    return f"streamlake_{role.value}"


def _config(connection: sa.Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config
