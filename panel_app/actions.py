"""What a viewer may ask for: who may, and the way of a wish into the table of commands, beside the sessions.

Belongs here: refusing, queueing and writing wishes. Stays out: who is logged in (``login``), carrying them out (the
process of alerts), what became of them (``questions``), buttons (views).
"""

import queue
import threading
import time
import uuid
from collections.abc import Callable, Collection
from typing import Final

import msgspec
import structlog

from panel_app.login import LOG_IN_FIRST, NO_LOGIN, has_login
from streamlake_assets.errors import StreamlakeError, TryLaterError, UsageError
from streamlake_assets.settings import DatabaseRole, Settings
from streamlake_assets.stores import commands
from streamlake_assets.stores.commands import SUBJECT, Verb
from streamlake_assets.stores.mysql import make_engine

MOST_WAITING: Final = 50
"""Wishes of all viewers that are not written yet."""
TRIES: Final = 3
_PAUSE_S: Final = 1.0


class Wish(msgspec.Struct):
    """What somebody asks for; ``problem`` says why it could not be written down."""

    request: str
    verb: Verb
    number: int
    by: str
    problem: str = ""


Write = Callable[[Wish], object]
"""Writes a wish; the same one again changes nothing."""


class Actions:
    """Every method of sessions may be called from any thread and returns at once.

    Args:
        write: what writes a wish down.
        users: names that may act; empty: everybody who is logged in.
        off: why nobody may act; empty: somebody may.
    """

    def __init__(self, write: Write, users: Collection[str] = (), off: str = "") -> None:
        self._write = write
        self._users = frozenset(users)
        self._wishes: queue.Queue[Wish | None] = queue.Queue(MOST_WAITING)
        self._log = structlog.get_logger(component="pages")
        self.off = off

    def refusal(self, user: str) -> str:
        """Return why this user may not act, an empty text if he may; nobody's name is empty."""
        if self.off:
            return self.off
        if not user:
            return LOG_IN_FIRST
        if self._users and user not in self._users:
            return f"{user} may not do this: STREAMLAKE_PANEL_USERS names who may."
        return ""

    def ask(self, user: str, verb: Verb, number: int) -> Wish:
        """Take a wish of the user of a session.

        Raises:
            UsageError: this user may not.
        """
        if refused := self.refusal(user):
            raise UsageError(refused)
        wish = Wish(uuid.uuid4().hex, verb, number, user)
        try:
            self._wishes.put_nowait(wish)
        except queue.Full:
            wish.problem = "too much was asked for: try again in a while"
        return wish

    def start(self) -> None:
        """Start the thread that writes; it ends with the process, or with ``close``."""
        threading.Thread(target=self._work, name="streamlake-actions", daemon=True).start()

    def close(self) -> None:
        """Let the thread go once it has written what was asked for before."""
        self._wishes.put(None)

    def _work(self) -> None:
        while (wish := self._wishes.get()) is not None:
            for left in reversed(range(TRIES)):
                try:
                    self._write(wish)
                    break
                except TryLaterError as error:
                    if not left:
                        wish.problem = f"not asked: {error}"[:300]
                    else:
                        time.sleep(_PAUSE_S)
                except StreamlakeError as error:
                    wish.problem = f"not asked: {error}"[:300]
                    break
                except (
                    Exception
                ) as error:  # the thread must outlive whatever a server says; the page shows that it failed
                    wish.problem = f"not asked: {type(error).__name__}"
                    self._log.exception("wish_failed", verb=wish.verb)
                    break


def nobody_may() -> Actions:
    """Return actions of a page without a login."""
    return Actions(lambda wish: None, off=NO_LOGIN)


def start_actions(settings: Settings) -> Actions:
    """Return what a server process takes wishes by, as the database user that may do nothing else."""
    if not has_login(settings):
        return nobody_may()
    engine = make_engine(settings, DatabaseRole.ACTIONS)
    made = Actions(
        lambda wish: commands.ask(engine, wish.request, wish.verb, {SUBJECT[wish.verb]: wish.number}, wish.by),
        settings.panel_actors,
    )
    made.start()
    return made
