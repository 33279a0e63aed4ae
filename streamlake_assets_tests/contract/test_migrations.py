"""Schema, triggers and rights: migrations reach what ``schema`` says, and each user can do what it must and no more."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import ledger, migrate, model_register, schema
from streamlake_assets.stores.bar_store import BarStore
from streamlake_assets.stores.mysql import make_engine
from streamlake_assets_tests.bars import bar, slice_of
from streamlake_assets_tests.ledger_rows import a_score, forecast, model
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers

DENIED = {1142, 1143, 1044, 1370}
"""A command, column, database or routine that is not granted."""
TABLES = [table.name for table in schema.metadata.sorted_tables]
NEWEST = max(path.name[:4] for path in Path(migrate.__file__).parent.glob("migrations/versions/0*.py"))


@pytest.fixture
def engines(database: Database) -> Iterator[dict[DatabaseRole, sa.Engine]]:
    made = {role: make_engine(database.settings, role) for role in DatabaseRole}
    yield made
    for engine in made.values():
        engine.dispose()


def layout(engine: sa.Engine) -> dict[str, list[Any]]:
    """What the server says of the schema: columns, keys, checks, triggers, views, seeds."""
    queries = {
        "columns": "SELECT table_name, column_name, ordinal_position, column_type, is_nullable, column_default, "
        "collation_name, column_comment, extra FROM information_schema.columns WHERE table_schema = DATABASE()",
        "keys": "SELECT table_name, index_name, seq_in_index, column_name, non_unique "
        "FROM information_schema.statistics WHERE table_schema = DATABASE()",
        "references": "SELECT table_name, constraint_name, referenced_table_name "
        "FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE()",
        "checks": "SELECT constraint_name, check_clause FROM information_schema.check_constraints "
        "WHERE constraint_schema = DATABASE()",
        "triggers": "SELECT trigger_name, event_manipulation, event_object_table, action_timing, action_statement "
        "FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
        "views": "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = DATABASE()",
        "tables": "SELECT table_name, engine, table_collation FROM information_schema.tables "
        "WHERE table_schema = DATABASE()",
        "intervals": "SELECT id, name, seconds FROM bar_intervals",
        "sources": "SELECT id, name, source_rank FROM data_sources WHERE name IN ('bridge', 'bokeh_sampledata')",
    }
    with engine.connect() as connection:
        return {
            name: sorted((tuple(row) for row in connection.execute(sa.text(query))), key=repr)
            for name, query in queries.items()
        }


def attempt(engine: sa.Engine, statement: str) -> int | None:
    """Return the error code of a statement, or None when it was done; it is rolled back either way."""
    with engine.connect() as connection:
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            assert error.orig is not None
            return int(error.orig.args[0])
    return None


def test_up_down_up_ends_where_it_was(database: Database) -> None:
    before = layout(database.admin)
    migrate.downgrade(database.admin, "base")
    left = set(sa.inspect(database.admin).get_table_names()) | set(sa.inspect(database.admin).get_view_names())
    assert left <= {"alembic_version"}
    revision = migrate.upgrade(database.admin)
    migrate.grant_rights(database.admin)
    assert revision == NEWEST
    assert layout(database.admin) == before
    assert migrate.upgrade(database.admin) == revision


def test_what_the_first_schema_stored_is_counted_and_kept(database: Database) -> None:
    store = BarStore(database.writer, "test")
    later = bar(price="20", as_of=bar().as_of + dt.timedelta(seconds=1), sector="S")
    store.ingest([slice_of([bar(), later, bar(), bar(symbol="MSFT", exchange="XLON", source="other")])])
    store.close()
    kept = {table: database.rows(table) for table in (schema.ingest_batches, schema.bars, schema.instruments)}
    assert [batch.versions for batch in kept[schema.ingest_batches]] == [3]
    migrate.downgrade(database.admin, "0001")
    migrate.upgrade(database.admin)
    assert {table: database.rows(table) for table in kept} == kept


def test_commands_that_nothing_carried_out_are_kept_as_failed(database: Database) -> None:
    migrate.downgrade(database.admin, "0005")
    with database.admin.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO commands (verb, arguments, requested_by) VALUES ('old', '{}', 'anna'), ('old', '{}', 'ben')"
        )
    migrate.upgrade(database.admin)
    found = [(one.requested_by, one.state, one.request[:7]) for one in database.rows(schema.commands)]
    assert found == [("anna", "failed", "before-"), ("ben", "failed", "before-")]


def test_the_database_has_no_difference_to_the_schema(database: Database) -> None:
    assert migrate.differences(database.admin) == []


def test_every_table_is_innodb_and_names_its_collation(database: Database) -> None:
    found = {row[0]: row[1:] for row in layout(database.admin)["tables"]}
    assert {found[name] for name in TABLES} == {("InnoDB", "utf8mb4_unicode_ci")}


def test_a_missing_column_is_a_difference(database: Database) -> None:
    with database.admin.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE sectors ADD COLUMN extra INT")
    try:
        assert migrate.differences(database.admin) != []
    finally:
        with database.admin.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE sectors DROP COLUMN extra")


@pytest.mark.parametrize("role", [DatabaseRole.MIGRATE, DatabaseRole.WRITER])
@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = 1", "DELETE FROM {}"])
@pytest.mark.parametrize(("table", "column"), [("forecasts", "point"), ("forecast_scores", "error")])
def test_nobody_changes_or_removes_what_was_said(
    database: Database,
    engines: dict[DatabaseRole, sa.Engine],
    role: DatabaseRole,
    statement: str,
    table: str,
    column: str,
) -> None:
    scored(database)
    refused = attempt(engines[role], statement.format(table, column))
    # the trigger's own error for who has the right, and no right for the writer
    assert refused in ({1644} if role is DatabaseRole.MIGRATE else DENIED)
    assert database.count(schema.metadata.tables[table]) == 1


def scored(database: Database) -> None:
    """One forecast with its score in the ledger."""
    BarStore(database.writer, "test").ingest([slice_of([bar()])])
    model_register.register_models(database.writer, [model()])
    ledger.issue(database.writer, [forecast()])
    (said,) = database.rows(schema.forecasts)
    ledger.put_scores(database.writer, [(said.id, a_score())])


WRITES = {
    "INSERT": "INSERT INTO `{0}` SELECT * FROM `{0}` WHERE 1 = 0",
    "UPDATE": "UPDATE `{0}` SET `{1}` = `{1}` WHERE 1 = 0",
    "DELETE": "DELETE FROM `{0}` WHERE 1 = 0",
    "SELECT": "SELECT * FROM `{0}` WHERE 1 = 0",
    "DROP": "DROP TABLE `{0}`",
    "ALTER": "ALTER TABLE `{0}` ADD COLUMN sneaky INT",
    "TRUNCATE": "TRUNCATE TABLE `{0}`",
}


@pytest.mark.parametrize("role", [role for role in DatabaseRole if role is not DatabaseRole.MIGRATE])
def test_each_user_has_the_rights_of_the_table_and_no_others(
    database: Database, engines: dict[DatabaseRole, sa.Engine], role: DatabaseRole
) -> None:
    views = sa.inspect(database.admin).get_view_names()
    table = migrate.rights_table(TABLES, views)
    granted = {(name, right) for who, name, rights in table if who is role for right in rights}
    for name in [*TABLES, *views]:
        column = "symbol" if name in views else schema.metadata.tables[name].columns.values()[-1].name
        for right, statement in WRITES.items():
            if name in views and right != "SELECT":
                continue
            code = attempt(engines[role], statement.format(name, column))
            if (name, right) in granted:
                assert code is None, (name, right, code)
            else:
                assert code in DENIED, (name, right, code)


def test_the_rights_are_the_least_that_serve(database: Database) -> None:
    rights = migrate.rights_table(TABLES, ["bi_daily_bars"])
    of = {(role, name): allowed for role, name, allowed in rights}
    assert of[DatabaseRole.WRITER, "forecasts"] == of[DatabaseRole.WRITER, "forecast_scores"] == ("SELECT", "INSERT")
    assert {allowed for (role, _), allowed in of.items() if role is DatabaseRole.READER} == {("SELECT",)}
    assert [name for role, name in of if role is DatabaseRole.BI] == ["bi_daily_bars"]
    assert {name: allowed for (role, name), allowed in of.items() if role is DatabaseRole.ACTIONS} == {
        "commands": ("SELECT", "INSERT (`request`, `verb`, `arguments`, `requested_by`)")
    }
    assert not any(role is DatabaseRole.MIGRATE for role, _ in of)


def test_bi_reads_every_view_and_knows_no_table(database: Database, engines: dict[DatabaseRole, sa.Engine]) -> None:
    scored(database)
    views = sa.inspect(database.admin).get_view_names()
    assert len(views) == 10
    with engines[DatabaseRole.BI].connect() as connection:
        for view in views:
            rows = connection.execute(sa.select(sa.text("*")).select_from(sa.table(view))).all()
            # no calendar was stored and no message was bad
            assert bool(rows) == (view not in {"bi_expected_sessions", "bi_dead_letters"}), view
        visible = connection.exec_driver_sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        ).scalars()
        assert set(visible) == set(views)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("high", 8), ("low", 13), ("open", 13), ("close", 8), ("volume", -1), ("status", "final"),
        ("source_id", 30_000), ("instrument_id", 30_000), ("batch_id", 30_000), ("close", None),
        ("bar_time", "2013-02-30 00:00:00"), ("close", "99999999999"),
    ],
)  # fmt: skip
def test_the_database_refuses_rows_that_break_the_rules(database: Database, column: str, value: Any) -> None:
    BarStore(database.writer, "test").ingest([slice_of([bar()])])
    literal = "NULL" if value is None else repr(value)
    refused = attempt(database.writer, f"UPDATE bars SET `{column}` = {literal}")  # noqa: S608
    # check, foreign key, null, bad value, out of range, truncated
    assert refused in {3819, 4025, 1452, 1048, 1292, 1264, 1265}


def test_sessions_are_strict_utc_and_read_committed(each_mysql: Settings, database: Database) -> None:
    with database.writer.connect() as connection:
        names = "('sql_mode', 'time_zone', 'transaction_isolation', 'tx_isolation')"
        found = connection.exec_driver_sql(f"SHOW SESSION VARIABLES WHERE Variable_name IN {names}")
        variables: dict[str, str] = {row[0]: row[1] for row in found}
    assert variables.pop("time_zone") == "+00:00"
    assert "STRICT_ALL_TABLES" in variables.pop("sql_mode")
    assert set(variables.values()) == {"READ-COMMITTED"}
