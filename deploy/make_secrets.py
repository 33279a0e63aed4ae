"""Makes the secrets of a deployment: one generated value a file, in ``deploy/secrets``; nothing is overwritten.

Belongs here: names and contents of the files that ``docker-compose.yml`` hands to containers. Stays out: everything
that needs streamlake: this runs with any Python 3.9 or newer, before there is an image.

Inside the folder every file may be read by everybody, since the containers' users have other numbers than yours; the
folder itself is closed to all but you, and its files reach a container as a mount of their own.
"""

import argparse
import secrets
import subprocess
import sys
from pathlib import Path

DATABASE = "streamlake"
LOGINS = {"admin": ("proxy_admins", "proxy_viewers"), "viewer": ("proxy_viewers",)}
"""User of the proxy -> files that let it in."""


def password() -> str:
    """Return 192 random bits as hexadecimal digits, so that they need no quoting anywhere."""
    return secrets.token_hex(24)


def mysql_url(role: str) -> str:
    """Return the URL of one of the five MySQL users, with a new password."""
    return f"mysql+pymysql://streamlake_{role}:{password()}@mysql:3306/{DATABASE}?charset=utf8mb4"


def mongo_url(user: str) -> str:
    """Return the URL of one of the two MongoDB users, with a new password."""
    return f"mongodb://{user}:{password()}@mongo:27017/{DATABASE}?authSource={DATABASE}"


def wanted() -> dict[str, str]:
    """Return path below the folder -> value, of all files but those of the proxy's logins."""
    return {
        "mysql_root_password": password(),
        "mysql_migrate_url": mysql_url("migrate"),
        "mysql_bi_url": mysql_url("bi"),
        "mysql_actions_url": mysql_url("actions"),
        "mongo_root_password": password(),
        "mongo_reader_url": mongo_url("streamlake_reader"),
        "nifi_password": password(),
        "elastic_password": password(),
        # who knows it may act on the page
        "panel_password": password(),
        # of the providers: put yours there
        "panel_oauth_key": "",
        "panel_oauth_secret": "",
        "massive_key": "",
        "alpha_vantage_key": "",
        # what runs read: the whole folder is mounted into their containers, under these names
        "run/streamlake_mysql_url": mysql_url("writer"),
        "run/streamlake_mysql_reader_url": mysql_url("reader"),
        "run/streamlake_mongo_url": mongo_url("streamlake"),
        "run/dagster_postgres_password": password(),
    }


def hashed(secret: str) -> str:
    """Return what the proxy keeps of a password: salted SHA-512 of crypt.

    Raises:
        SystemExit: there is no ``openssl``.
    """
    try:
        done = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"], input=secret, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"openssl is needed to hash the logins of the proxy: {error}") from error
    return done.stdout.strip()


def make(folder: Path) -> list[str]:
    """Write what is missing; return the names of the files made.

    Raises:
        SystemExit: there is no ``openssl``.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = [name for name, value in wanted().items() if _write(folder / name, value)]
    # in a container these folders themselves are mounted, so others must be able to enter them
    (folder / "alerts").mkdir(exist_ok=True)
    for name in ("run", "alerts"):
        (folder / name).chmod(0o755)
    logins = {user: password() for user in LOGINS}
    files = {file for names in LOGINS.values() for file in names}
    if not any((folder / file).exists() for file in files):
        for file in sorted(files):
            users = [user for user in LOGINS if file in LOGINS[user]]
            _write(folder / file, "".join(f"{user}:{hashed(logins[user])}\n" for user in users))
        _write(folder / "logins.txt", "".join(f"{user} {secret}\n" for user, secret in logins.items()), mode=0o600)
        made += [*sorted(files), "logins.txt"]
    return made


def _write(path: Path, value: str, mode: int = 0o444) -> bool:
    if path.exists():
        return False
    path.parent.mkdir(exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(value)
    path.chmod(mode)
    return True


def main() -> None:
    """Make them and say which."""
    parser = argparse.ArgumentParser(description="Make the secrets of a deployment; existing ones stay.")
    parser.add_argument("--folder", type=Path, default=Path(__file__).with_name("secrets"))
    folder = parser.parse_args().folder
    made = make(folder)
    for name in made:
        sys.stdout.write(f"{folder / name}\n")
    if "logins.txt" in made:
        sys.stdout.write(f"the proxy's users and passwords are in {folder / 'logins.txt'}: move it away\n")


if __name__ == "__main__":
    main()
