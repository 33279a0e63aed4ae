"""The login by password: ``panel serve --auth-module`` loads this file, which says who a request is from.

Belongs here: the pages of login and logout, and what a wrong password costs. Stays out: who may act (``login``,
``actions``). Panel's own pages would ask another host for their picture, and its check folds the case of a password.
"""

import hmac
import time
from collections import deque
from html import escape
from typing import Any, Final

from tornado.web import RequestHandler

from panel_app.login import COOKIE, GUEST, HOURS, LOGIN, LOGOUT, ended_logins
from panel_app.serving import PATH
from streamlake_assets.settings import Settings, load_settings

MOST_WRONG: Final = 10
"""Wrong passwords within a minute, of all who try; beyond them everybody waits."""
_WINDOW_S: Final = 60.0
_MOST_NAME: Final = 64
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 0;
  color-scheme: light dark; }
main { width: min(92vw, 340px); }
label, input, button { display: block; width: 100%; box-sizing: border-box; font: inherit; }
input, button { padding: 8px 10px; margin: 2px 0 14px; }
.wrong { color: #e5484d; font-weight: 600; }
"""


class WrongPasswords:
    """When passwords were wrong lately."""

    def __init__(self, most: int = MOST_WRONG) -> None:
        self._times: deque[float] = deque(maxlen=most)
        self._most = most

    def note(self, now: float) -> None:
        """Note one at this time of a clock that only goes forward."""
        self._times.append(now)

    def too_many(self, now: float) -> bool:
        """Tell whether no further one is looked at now."""
        return len(self._times) == self._most and now - self._times[0] < _WINDOW_S


_WRONG = WrongPasswords()
login_url = LOGIN
logout_url = LOGOUT


def get_user(handler: Any) -> str:
    """Return the name that the request's cookie holds, or that of a guest, who may read."""
    name = handler.get_signed_cookie(COOKIE, max_age_days=HOURS / 24)
    return name.decode() if name and handler.get_cookie(COOKIE) not in ended_logins else GUEST


def problem(settings: Settings, name: str, password: str) -> str:
    """Return why this name and password do not log in, an empty text when they do.

    The name says who acts and proves nothing: the password is one for all who may.
    """
    fits = hmac.compare_digest(password.encode(), settings.panel_password.get_secret_value().encode())
    known = not settings.panel_actors or name in settings.panel_actors
    if not fits or not known or name == GUEST or not settings.panel_password.get_secret_value():
        return "Wrong name or password."
    if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
        return f"A name has 1 to {_MOST_NAME} signs."
    return ""


def way_back(asked: str) -> str:
    """Return where a login leads: an address of the page itself, whatever was asked for."""
    own = asked == PATH or asked.startswith(f"{PATH}?")
    return asked if own and asked.isprintable() and "\\" not in asked else PATH


class _Page(RequestHandler):
    def _show(self, title: str, inside: str, status: int = 200) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'self'",
        )
        self.set_header("X-Frame-Options", "DENY")
        head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        style = f'<link rel="icon" href="data:,"><style>{_STYLE}</style>'
        self.finish(
            f'<!doctype html><html lang="en"><head>{head}<title>streamlake: {title}</title>{style}</head>'
            f"<body><main><h1>{title}</h1>{inside}</main></body></html>"
        )


class LoginHandler(_Page):
    """Asks for name and password."""

    def get(self) -> None:
        """Show the form."""
        self._form("")

    def post(self) -> None:
        """Log in, or say why not."""
        now = time.monotonic()
        if _WRONG.too_many(now):
            self._form("Too many wrong passwords: wait a minute.", 429)
            return
        name = self.get_body_argument("username", "").strip()
        said = problem(load_settings(), name, self.get_body_argument("password", "", strip=False))
        if said:
            _WRONG.note(now)
            self._form(said, 403)
            return
        # of a login by a provider, which was set before
        self.clear_cookie("is_guest")
        self.set_signed_cookie(COOKIE, name, expires_days=HOURS / 24, httponly=True, samesite="Lax")
        self.redirect(way_back(self.get_query_argument("next", PATH)))

    def _form(self, said: str, status: int = 200) -> None:
        wrong = f'<p class="wrong" role="alert">{escape(said)}</p>' if said else ""
        self._show(
            "Log in",
            f'{wrong}<form method="post">'
            '<label for="username">Your name, beside what you do</label>'
            '<input id="username" name="username" autocomplete="username" required autofocus>'
            '<label for="password">Password</label>'
            '<input id="password" name="password" type="password" autocomplete="current-password" required>'
            f'<button>Log in</button></form><a href="{PATH}">Read without a login</a>',
            status,
        )


class LogoutHandler(_Page):
    """Forgets who somebody was."""

    def get(self) -> None:
        """Say so."""
        if self.get_signed_cookie(COOKIE) is not None:
            ended_logins.note(self.get_cookie(COOKIE, ""))
        self.clear_cookie(COOKIE)
        self._show("Logged out", f'<a href="{PATH}">Back to the page</a>')
