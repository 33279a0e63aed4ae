"""Who looks: the name that the current session's login proves.

Belongs here: reading it from the session. Stays out: how a login is made (``login_pages``), what a name may do
(``actions``).
"""

from typing import Any

import panel
from tornado.web import decode_signed_value

from panel_app.login import COOKIE, GUEST, HOURS, ended_logins

# the types that Panel states do not hold for its own members
pn: Any = panel


def session_user() -> str:
    """Return who is logged in in the current session; an empty text for nobody, or when the login is too old or ended.

    Panel says whose cookie it is; how old it is, is looked at here, because a page may stay open for days.
    """
    user = pn.state.user
    if not isinstance(user, str) or user in ("", GUEST):
        return ""
    signed, secret = pn.state.cookies.get(COOKIE), pn.config.cookie_secret
    if not signed or not secret or signed in ended_logins:
        return ""
    return user if decode_signed_value(secret, COOKIE, signed, max_age_days=HOURS / 24) is not None else ""
