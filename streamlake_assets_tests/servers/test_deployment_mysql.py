"""The deployment's MySQL users on a real server: made by the container's init script, given their rights by migrate.

The server is this machine's own; the accounts are those of the containers, which come from any host.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from deploy import make_secrets
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.mysql import LocalMysql
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.settings import LOOPBACK, DatabaseRole, Settings, secrets_file
from streamlake_assets.stores import migrate, schema
from streamlake_assets_tests.conftest import print_line, settings_in
from streamlake_assets_tests.deployment import ROOT

pytestmark = pytest.mark.servers


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Settings]:
    """A server of this test alone: its accounts are changed."""
    settings = settings_in(tmp_path / "home", local_mysql="auto")
    local = LocalMysql(settings, ChildRegistry(Home.of(settings).create()), durable=False)
    local.prepare(print_line)
    local.start()
    yield settings
    local.stop()


def test_users_from_any_host_get_the_rights_of_their_role(server: Settings, tmp_path: Path) -> None:
    urls = {role: make_secrets.mysql_url(role.value) for role in DatabaseRole}
    for role, url in urls.items():
        (tmp_path / f"mysql_{role.value}_url").write_text(url)
    script = f"docker_process_sql() {{ cat; }}; . {ROOT}/deploy/init/mysql_users.sh"
    statements = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        env={"PATH": "/usr/bin:/bin", "INIT_SECRETS": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    passwords = json.loads(secrets_file(server.data_dir).read_text())
    as_migrate = sa.make_url(server.mysql(DatabaseRole.MIGRATE))
    root = sa.create_engine(as_migrate.set(username="root", password=passwords["root"]))
    with root.begin() as connection:
        for role in DatabaseRole:
            for host in migrate.LOCAL_HOSTS:
                connection.exec_driver_sql(f"DROP USER 'streamlake_{role.value}'@'{host}'")
        for statement in statements.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("%", "%%"))
    root.dispose()

    engines = {
        role: sa.create_engine(re.sub("@mysql:3306/", f"@{LOOPBACK}:{server.mysql_port}/", url) + "&ssl_disabled=true")
        for role, url in urls.items()
    }
    admin = engines[DatabaseRole.MIGRATE]
    assert migrate.upgrade(admin)
    migrate.grant_rights(admin)
    with admin.connect() as connection:
        assert connection.scalar(sa.text("SELECT CURRENT_USER()")) == "streamlake_migrate@%"
    count = sa.select(sa.func.count()).select_from(schema.bars)
    for role in (DatabaseRole.WRITER, DatabaseRole.READER):
        with engines[role].connect() as connection:
            assert connection.scalar(count) == 0
    with engines[DatabaseRole.READER].connect() as connection, pytest.raises(sa.exc.DBAPIError, match="denied"):
        connection.execute(sa.delete(schema.bars))
    with engines[DatabaseRole.BI].connect() as connection, pytest.raises(sa.exc.DBAPIError, match="denied"):
        connection.execute(count)
    for engine in engines.values():
        engine.dispose()
