"""The users of a local MySQL: generated passwords, and the statements that set them at every start.

Belongs here: the secrets file and the text of the server's init file. Stays out: table grants (the migrations give
them) and the server's start (``mysql``).

The server runs the init file before it takes connections, so there is no moment in which root has an empty password,
an interrupted first start is simply repeated, and a lost secrets file is replaced without touching the data.
"""

import json
import secrets
from pathlib import Path

from streamlake_assets.errors import UsageError
from streamlake_assets.servers.home import write_atomic
from streamlake_assets.settings import DATABASE, LOOPBACK, DatabaseRole

ROOT = "root"
CHARACTER_SET = "utf8mb4"
COLLATION = "utf8mb4_unicode_ci"
_HOSTS = (LOOPBACK, "localhost")


def ensure_passwords(path: Path) -> dict[str, str]:
    """Return the password of each role and of root; missing ones are generated and stored (file 0600, folder 0700).

    Raises:
        UsageError: the file is there but cannot be read as a JSON object.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    known: dict[str, str] = {}
    if path.exists():
        try:
            known = {str(key): str(value) for key, value in json.loads(path.read_text()).items()}
        except (ValueError, AttributeError) as error:
            raise UsageError(f"{path} is damaged: delete it, new passwords are made at the next start") from error
    wanted = [ROOT, *(role.value for role in DatabaseRole)]
    passwords = {**known, **{name: secrets.token_urlsafe(24) for name in wanted if not known.get(name)}}
    if passwords != known:
        write_atomic(path, json.dumps(passwords, indent=1) + "\n", mode=0o600)
    else:
        path.chmod(0o600)
    return passwords


def init_statements(passwords: dict[str, str], strangers: list[tuple[str, str]]) -> str:
    """Return the init file's text: database, users with their passwords, the migration user's rights, root locked in.

    Args:
        passwords: role (and ``root``) -> password, in the URL-safe base64 alphabet.
        strangers: accounts (user, host) that the server's set-up made and nobody needs.
    """
    lines = [f"DROP USER IF EXISTS {_account(user, host)};" for user, host in strangers]
    lines.append(f"CREATE DATABASE IF NOT EXISTS `{DATABASE}` CHARACTER SET {CHARACTER_SET} COLLATE {COLLATION};")
    for name, password in sorted(passwords.items()):
        user = ROOT if name == ROOT else f"{DATABASE}_{name}"
        for host in _HOSTS:
            account = _account(user, host)
            lines.append(f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {_quoted(password)};")
            lines.append(f"ALTER USER {account} IDENTIFIED BY {_quoted(password)};")
            if name == ROOT:
                lines.append(f"GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;")
            elif name == DatabaseRole.MIGRATE:
                # a rebuild makes a schema of its own beside the live one; _ alone would stand for any sign
                for schema in (DATABASE, rf"{DATABASE}\_%"):
                    lines.append(f"GRANT ALL PRIVILEGES ON `{schema}`.* TO {account} WITH GRANT OPTION;")
    return "\n".join(lines) + "\n"


def _account(user: str, host: str) -> str:
    return f"{_quoted(user)}@{_quoted(host)}"


def _quoted(text: str) -> str:
    """Quote a name or a generated password; nothing else comes here, and anything else is refused."""
    if not all(character.isalnum() or character in "-_.:%" for character in text):
        raise UsageError("a user name or password of the local MySQL holds a sign that is not allowed: delete its file")
    return f"'{text}'"
