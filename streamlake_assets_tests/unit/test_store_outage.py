"""That the store of alerts is away is told past it: once, when it lasts, and once that it is back."""

import pytest

from streamlake_assets.alerts.notifier import NotDeliveredError, Receipt
from streamlake_assets.market.alert_messages import Message
from streamlake_assets.market.alert_rules import Chat, Rule, Rules
from streamlake_assets.market.alerts import Kind
from streamlake_assets.sidecar.store_outage import LIMIT_S, StoreOutage


class Target:
    """Keeps what it got; fails when told to."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.fails = False

    def send(self, message: Message) -> Receipt:
        if self.fails:
            raise NotDeliveredError("HTTP 503")
        self.got.append(message)
        return Receipt("HTTP 200")

    @property
    def headlines(self) -> list[str]:
        return [message.alerts[0].headline for message in self.got]


class Scene:
    def __init__(self, **rule: object) -> None:
        self.now = 0.0
        self.target = Target()
        rules = Rules((Chat(name="ops", url="env:X"),), (Rule(name="r", targets=("ops",), **rule),))  # type: ignore[arg-type]
        self.outage = StoreOutage(rules, {"ops": self.target}, monotonic=lambda: self.now)

    def away(self, seconds: int) -> None:
        for _ in range(seconds):
            self.outage.away("reading alerts: gone")
            self.now += 1.0


def test_an_outage_that_lasts_is_told_once_and_its_end_once() -> None:
    scene = Scene()
    scene.away(int(LIMIT_S))
    assert scene.target.got == []
    scene.away(100)
    for _ in range(3):
        scene.outage.back()
    assert scene.target.headlines == ["Failed: mysql", "Recovered: mysql"]
    assert "reading alerts: gone" in scene.target.got[0].text
    assert scene.target.got[0].id != scene.target.got[1].id


def test_a_short_outage_is_no_news_however_often_it_comes() -> None:
    scene = Scene()
    for _ in range(5):
        scene.away(int(LIMIT_S) - 1)
        scene.outage.back()
    assert scene.target.got == []


def test_a_target_that_is_away_too_is_told_when_it_is_back() -> None:
    scene = Scene()
    scene.target.fails = True
    scene.away(70)
    scene.target.fails = False
    scene.away(60)
    assert scene.target.headlines == ["Failed: mysql"]
    scene.target.fails = True
    scene.outage.back()
    scene.target.fails = False
    scene.now += 60
    scene.outage.back()
    scene.outage.back()
    assert scene.target.headlines == ["Failed: mysql", "Recovered: mysql"]


@pytest.mark.parametrize("rule", [{"on": (Kind.CHECK,)}, {"except_": ("mysql",)}])
def test_who_does_not_want_it_is_not_told(rule: dict[str, object]) -> None:
    scene = Scene(**rule)
    scene.away(100)
    scene.outage.back()
    assert scene.target.got == []
