"""The page's login: which one the settings name, what Panel is told of it, and logins that were ended.

Belongs here: what all of the login agrees on. Stays out: its pages (``login_pages``), who a session is of (``viewer``),
who may do what (``actions``), Panel.

Reading needs no login: whoever has none is a guest. A name comes from a cookie that this process signed with a secret
of its own, made at its start; so a restart of the page ends all logins.
"""

import base64
import secrets
from collections import deque
from pathlib import Path
from typing import Final

from streamlake_assets.settings import Settings

GUEST: Final = "guest"
"""What Panel calls who is not logged in; nobody can log in by this name."""
COOKIE: Final = "user"
"""The cookie that Panel reads the name from."""
HOURS: Final = 12
"""A login ends after so many hours, on a page that stays open too."""
LOGIN: Final = "/login"
LOGOUT: Final = "/logout"
NO_LOGIN: Final = (
    "Replaying and acknowledging are off: set STREAMLAKE_PANEL_PASSWORD and start the page again. "
    "The commands of streamlake do the same."
)
LOG_IN_FIRST: Final = "Log in first: only who is logged in may do this."

_MOST_ENDED: Final = 10_000


class EndedLogins:
    """Cookies of those who logged out: a page that is still open somewhere has them."""

    def __init__(self) -> None:
        self._cookies: deque[str] = deque(maxlen=_MOST_ENDED)

    def note(self, signed: str) -> None:
        """Let a cookie be worth nothing from now on."""
        self._cookies.append(signed)

    def __contains__(self, signed: str) -> bool:
        return signed in self._cookies


ended_logins: Final = EndedLogins()


def has_login(settings: Settings) -> bool:
    """Tell whether anybody can log in."""
    return bool(settings.panel_password.get_secret_value() or settings.panel_oauth_provider)


def login_arguments(settings: Settings) -> list[str]:
    """Return what ``panel serve`` is told of the login."""
    if settings.panel_password.get_secret_value():
        return ["--auth-module", str(Path(__file__).with_name("login_pages.py"))]
    return []


def login_environment(settings: Settings) -> dict[str, str]:
    """Return what Panel reads of the login from its environment; it holds secrets, which a command line would show."""
    if not has_login(settings):
        return {}
    found = {"PANEL_COOKIE_SECRET": secrets.token_urlsafe(32)}
    if settings.panel_oauth_provider:
        found |= {
            "PANEL_OAUTH_PROVIDER": settings.panel_oauth_provider,
            "PANEL_OAUTH_KEY": settings.panel_oauth_key.get_secret_value(),
            "PANEL_OAUTH_SECRET": settings.panel_oauth_secret.get_secret_value(),
            "PANEL_OAUTH_ENCRYPTION": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "PANEL_OAUTH_OPTIONAL": "true",
            "PANEL_OAUTH_EXPIRY": str(HOURS / 24),
        }
        if settings.panel_oauth_redirect_uri:
            found["PANEL_OAUTH_REDIRECT_URI"] = settings.panel_oauth_redirect_uri
    return found
