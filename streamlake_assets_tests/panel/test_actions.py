"""Acting on the page: who may, what a press does, what is said of it; and the login by password."""

import datetime as dt
import threading
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from panel_app import action_tables, login, login_pages
from panel_app import questions as q
from panel_app.actions import MOST_WAITING, TRIES, Actions, Wish, nobody_may
from panel_app.data_store import DataStore
from panel_app.login import LOG_IN_FIRST, NO_LOGIN
from panel_app.quality_view import ASKED, INBOX, REPLAY, QualityView
from panel_app.serving import serve_argv
from streamlake_assets.errors import TryLaterError, UsageError
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets.stores.commands import Command, State, Verb
from streamlake_assets.stores.dead_letters import Letter
from streamlake_assets.stores.page_quality import OpenAlert
from streamlake_assets.stores.replays import Replay
from streamlake_assets_tests.panel.test_views import HOSTILE, NOW

LETTER = Letter(9, "finance-data", 1, 42, "bad_json", HOSTILE, b"IBM", 30, NOW, "open", None, None, None)
ALERT = OpenAlert(id=5, state="error", since=NOW, subject=HOSTILE, body=HOSTILE, acked_by=None)
PLAYED = Replay(3, False, 60.0, 12, 60, NOW.date(), NOW, NOW, None)
AGAIN = f"{Verb.REPLAY.value}:9"
ACKNOWLEDGE = f"{Verb.ACKNOWLEDGE.value}:5"


def settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **{"panel_password": SecretStr(""), "panel_users": "", **values})


def command(state: State = State.ASKED, request: str = "r", number: Any = 9, age_s: float = 1.0) -> Command:
    at = NOW - dt.timedelta(seconds=age_s)
    return Command(1, request, Verb.REPLAY.value, {"letter": number}, "anna", at, state, HOSTILE, None, 1)


class Desk:
    """A view of quality, what it asked for, and who is logged in."""

    def __init__(self, user: str, actions: Actions | None = None) -> None:
        self.asked: list[Wish] = []
        self.user = user
        self.store = DataStore(lambda: NOW)
        self.store.actions = actions or Actions(self.asked.append)
        self.store.actions.start()
        self.view = QualityView(self.store, lambda: self.user)
        self.view.show(None)
        self.store.shelf.put(q.DeadLetters("open"), q.DeadAnswer([LETTER], {}, 1), 0.0)
        self.store.shelf.put(INBOX, [ALERT], 0.0)
        self.store.shelf.put(REPLAY, PLAYED, 0.0)
        self.answered([])

    def answered(self, commands: list[Command]) -> None:
        self.store.shelf.put(ASKED, commands, 0.0)
        self.view.ask()

    def wishes(self) -> list[tuple[str, int, str]]:
        """What was written, in order, once everything that was asked for is."""
        self.store.actions.close()
        assert wait_until(lambda: not any(one.name == "streamlake-actions" for one in threading.enumerate()), 5)
        return [(one.verb, one.number, one.by) for one in self.asked]


# presses


def test_who_is_logged_in_asks_for_a_replay_and_an_acknowledgement() -> None:
    desk = Desk("anna")
    assert f'data-pick="{AGAIN}"' in desk.view._letters.html and f'data-pick="{ACKNOWLEDGE}"' in desk.view._inbox.html
    assert "You act as anna." in desk.view._login.object and "logout" in desk.view._login.object
    for _ in range(2):  # the second time it is on its way
        desk.view._letters.picked = AGAIN
        desk.view._inbox.picked = ACKNOWLEDGE
    assert "asking" in desk.view._letters.html and AGAIN not in desk.view._letters.html
    assert desk.wishes() == [("dead_letter_replay", 9, "anna"), ("alert_ack", 5, "anna")]


@pytest.mark.parametrize(("user", "said"), [("", LOG_IN_FIRST), ("eve", "eve may not do this")])
def test_who_may_not_act_is_refused_whatever_his_browser_sends(user: str, said: str) -> None:
    asked: list[Wish] = []
    desk = Desk(user, Actions(asked.append, users=("anna",)))
    desk.asked = asked
    assert 'disabled title="' in desk.view._letters.html and "data-pick" not in desk.view._inbox.html
    desk.view._letters.picked = AGAIN
    desk.view._inbox.picked = ACKNOWLEDGE
    assert said in desk.view._letters.html and said in desk.view._login.object
    assert desk.wishes() == []


def test_a_login_that_ended_while_the_page_was_open_is_looked_at_when_the_button_is_pressed() -> None:
    desk = Desk("anna")
    desk.user = ""
    desk.view._letters.picked = AGAIN
    assert LOG_IN_FIRST in desk.view._letters.html and desk.wishes() == []


def test_without_a_login_the_buttons_say_what_to_set() -> None:
    desk = Desk("anna", nobody_may())
    assert NO_LOGIN in desk.view._login.object and f'disabled title="{NO_LOGIN}' in desk.view._letters.html
    desk.view._letters.picked = AGAIN
    assert desk.wishes() == []


@pytest.mark.parametrize(
    "pressed",
    ["dead_letter_replay:10", "dead_letter_replay:-9", "drop:9", ACKNOWLEDGE, HOSTILE, "", "9:9", AGAIN + "0" * 30],
)
def test_a_press_of_what_is_not_shown_asks_for_nothing(pressed: str) -> None:
    desk = Desk("anna")
    desk.view._letters.picked = pressed
    assert desk.wishes() == []


# what is said


def test_what_became_of_a_wish_stands_beside_its_row_as_text() -> None:
    desk = Desk("anna")
    desk.answered([command(State.FAILED)])
    made = desk.view._letters.html + desk.view._asked.object + desk.view._inbox.html
    assert "failed: &lt;img" in made and "<img" not in made
    assert f'data-pick="{AGAIN}"' in desk.view._letters.html, "what failed can be asked for again"
    desk.answered([command(State.ASKED, "r2"), command(State.FAILED)])
    assert "asked by anna" in desk.view._letters.html and "data-pick" in desk.view._inbox.html
    assert f'data-pick="{AGAIN}"' not in desk.view._letters.html
    desk.answered([command(age_s=60)])
    assert "does the process alerts run?" in desk.view._letters.html
    desk.wishes()


def test_a_replay_is_paused_paced_and_started_by_what_is_shown() -> None:
    desk = Desk("anna")
    assert "12 of 60 sessions, the newest" in desk.view._replay.html
    assert 'data-pick="replay_pause:3"' in desk.view._replay.html and "replay_start" not in desk.view._replay.html
    assert 'disabled title="the pace now">60 a minute' in desk.view._replay.html
    for pressed in ("replay_start:3", "replay_pause:4", "replay_pace:60", "replay_pace:7", "replay_pause:3"):
        desk.view._replay.picked = pressed
    assert 'disabled title="asking">Pause' in desk.view._replay.html
    desk.view._replay.picked = "replay_pace:120"
    desk.store.shelf.put(REPLAY, PLAYED._replace(paused=True), 0.0)
    desk.view.ask()
    assert 'data-pick="replay_start:3"' in desk.view._replay.html
    desk.view._replay.picked = "replay_start:3"
    assert desk.wishes() == [("replay_pause", 3, "anna"), ("replay_pace", 120, "anna"), ("replay_start", 3, "anna")]


@pytest.mark.parametrize(
    ("replay", "said"),
    [
        (None, "No replay was begun"),
        (PLAYED._replace(ended_at=NOW), "ended"),
        (PLAYED._replace(beat_at=NOW - dt.timedelta(minutes=1)), "not heard of for long"),
    ],
)
def test_a_replay_that_does_not_run_has_no_buttons(replay: Replay | None, said: str) -> None:
    desk = Desk("anna")
    desk.store.shelf.put(REPLAY, replay, 0.0)
    desk.view.ask()
    assert said in desk.view._replay.html and "data-pick" not in desk.view._replay.html
    desk.view._replay.picked = "replay_pause:3"
    assert desk.wishes() == []


def test_letters_that_are_not_open_have_no_button() -> None:
    desk = Desk("anna")
    desk.view._choice.value = "dropped"
    dropped = LETTER._replace(state="dropped")
    desk.store.shelf.put(q.DeadLetters("dropped"), q.DeadAnswer([dropped], {}, 1), 0.0)
    desk.view.ask()
    assert "Replay" not in desk.view._letters.html and 'data-pick="9"' in desk.view._letters.html
    desk.view._letters.picked = AGAIN
    assert desk.wishes() == []


@pytest.mark.parametrize("number", ["9", None, HOSTILE, 1.5])
def test_commands_with_strange_arguments_are_listed_and_beside_nothing(number: Any) -> None:
    odd = [command(number=number), command()._replace(verb="other"), command()._replace(arguments={})]
    odd.append(command()._replace(arguments=[9]))  # type: ignore[arg-type]
    assert action_tables.told(odd, {}, NOW) == {}
    assert "<img" not in action_tables.asked(odd)


# writing


def test_a_wish_is_written_again_after_an_outage_and_its_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("panel_app.actions._PAUSE_S", 0.0)
    tried: list[str] = []

    def write(wish: Wish) -> None:
        tried.append(wish.request)
        if wish.number == 1 and len(tried) < TRIES:
            return_later()
        if wish.number == 2:
            return_later()
        if wish.number == 3:
            raise ZeroDivisionError

    def return_later() -> None:
        raise TryLaterError("mysql is away")

    actions = Actions(write)
    wishes = [actions.ask("anna", Verb.REPLAY, number) for number in (1, 2, 3, 4)]
    actions.close()
    actions._work()
    assert [one.problem for one in wishes] == ["", "not asked: mysql is away", "not asked: ZeroDivisionError", ""]
    assert tried == [wishes[0].request] * TRIES + [wishes[1].request] * TRIES + [one.request for one in wishes[2:]]


def test_too_many_wishes_are_refused() -> None:
    actions = Actions(lambda wish: None)
    wishes = [actions.ask("anna", Verb.REPLAY, number) for number in range(MOST_WAITING + 1)]
    assert [one.problem for one in wishes[:-1]] == [""] * MOST_WAITING and "too much" in wishes[-1].problem


@pytest.mark.parametrize("user", ["", "eve"])
def test_nobody_asks_without_a_name_that_may(user: str) -> None:
    with pytest.raises(UsageError):
        Actions(lambda wish: None, users=("anna",)).ask(user, Verb.REPLAY, 1)


# the login


def test_panel_is_told_of_a_login_only_where_one_is_set_and_secrets_stay_off_its_command_line() -> None:
    assert login.login_arguments(settings()) == [] and login.login_environment(settings()) == {}
    by_password = settings(panel_password=SecretStr("open sesame"))
    assert login.login_arguments(by_password)[0] == "--auth-module"
    first, second = login.login_environment(by_password), login.login_environment(by_password)
    assert set(first) == {"PANEL_COOKIE_SECRET"} and first != second
    oauth = {"panel_oauth_provider": "github", "panel_oauth_key": SecretStr("key"), "panel_users": "anna, ben"}
    by_provider = settings(**oauth, panel_oauth_secret=SecretStr("hidden"))
    told = login.login_environment(by_provider)
    assert told["PANEL_OAUTH_PROVIDER"] == "github" and told["PANEL_OAUTH_OPTIONAL"] == "true"
    assert by_provider.panel_actors == {"anna", "ben"}
    assert not any(
        "hidden" in word or "sesame" in word for word in (*serve_argv(1), *login.login_arguments(by_provider))
    )


@pytest.mark.parametrize(
    "values",
    [
        {"panel_oauth_provider": "github"},
        {"panel_oauth_provider": "github", "panel_users": "anna", "panel_oauth_key": SecretStr("k")},
        {"panel_oauth_provider": "github", "panel_oauth_key": SecretStr("k"), "panel_oauth_secret": SecretStr("s")},
        {"panel_oauth_provider": "github", "panel_password": SecretStr("p")},
    ],
)
def test_a_login_by_a_provider_names_who_may_and_is_the_only_one(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="STREAMLAKE_PANEL_OAUTH_PROVIDER"):
        settings(**values)


@pytest.mark.parametrize(
    ("users", "name", "password", "fits"),
    [
        ("", "anna", "Open", True),
        ("", "anna", "open", False),
        ("", "anna", "", False),
        ("", "guest", "Open", False),
        ("", "", "Open", False),
        ("", "a" * 65, "Open", False),
        ("", "an\nna", "Open", False),
        ("ben", "anna", "Open", False),
        ("ben, anna", "anna", "Open", True),
    ],
)
def test_name_and_password_log_in_or_not(users: str, name: str, password: str, fits: bool) -> None:
    here = settings(panel_password=SecretStr("Open"), panel_users=users)
    assert (login_pages.problem(here, name, password) == "") is fits


def test_no_password_is_no_login() -> None:
    assert login_pages.problem(settings(), "anna", "") != ""


@pytest.mark.parametrize(
    ("asked", "leads"),
    [
        ("/app?view=quality", "/app?view=quality"),
        ("/app", "/app"),
        ("https://elsewhere/app", "/app"),
        ("//elsewhere/app", "/app"),
        ("/app@elsewhere", "/app"),
        ("/app?\\x", "/app"),
        ("/app?a\r\nSet-Cookie: x", "/app"),
    ],
)
def test_a_login_leads_back_to_the_page_and_nowhere_else(asked: str, leads: str) -> None:
    assert login_pages.way_back(asked) == leads


def test_after_too_many_wrong_passwords_nobody_tries_for_a_minute() -> None:
    wrong = login_pages.WrongPasswords(3)
    for now in (0.0, 1.0, 2.0):
        assert not wrong.too_many(now)
        wrong.note(now)
    assert wrong.too_many(2.1) and wrong.too_many(59.9)
    assert not wrong.too_many(60.0)
