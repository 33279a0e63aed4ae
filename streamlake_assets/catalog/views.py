"""The SELECT of each view, and the migration that makes the views.

Belongs here: SQL text out of the catalogue, which is part of the program and never input. Stays out: running it.

A migration keeps the text as it was when it was written, so that an old one always makes the same schema; a test holds
the newest equal to the catalogue, and ``streamlake bi migration`` writes the next one when they differ.
"""

from streamlake_assets.catalog.model import Catalog, Table


def select(table: Table) -> str:
    """Return the SELECT of a table's view, one line for each column."""
    columns = ",\n".join(f"  {column.sql} AS `{column.name}`" for column in table.columns)
    start = f"WITH {table.common}\nSELECT" if table.common else "SELECT"
    return f"{start}\n{columns}\n{table.source}"


def selects(catalog: Catalog) -> dict[str, str]:
    """Return the SELECT of every view by its name, in the order in which they can be made."""
    return {table.view: select(table) for table in catalog.tables}


def migration(catalog: Catalog, revision: str, before: str, before_module: str) -> str:
    """Return the text of a migration that puts the catalogue's views in the place of those there are.

    Args:
        catalog: whose views.
        revision: of the migration, such as 0004.
        before: the revision it follows.
        before_module: the newest module of migrations with views, whose ``VIEWS`` its downgrade makes again.
    """
    views = "\n".join(f'    "{name}": """\n{_indented(text)}\n    """,' for name, text in selects(catalog).items())
    return f'''"""The views that BI tools read, as the catalogue had them; written by ``streamlake bi migration``."""

from importlib import import_module

from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None

BEFORE = "streamlake_assets.stores.migrations.versions.{before_module}"

VIEWS = {{
{views}
}}


def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    # the later views read the earlier ones
    for name in reversed(old):
        op.execute(f"DROP VIEW {{name}}")
    for name, select in new.items():
        op.execute(f"CREATE VIEW {{name}} AS {{select}}")


def upgrade() -> None:
    _replace(import_module(BEFORE).VIEWS, VIEWS)


def downgrade() -> None:
    _replace(VIEWS, import_module(BEFORE).VIEWS)
'''


def _indented(text: str) -> str:
    return "\n".join(f"        {line}" for line in text.splitlines())
