"""The demo's way through NiFi without a NiFi: what is dropped, how long is waited, and when NiFi is used at all."""

from pathlib import Path
from typing import Any, cast

import pytest

from streamlake_assets.commands import supervise
from streamlake_assets.commands.demo import MOST_RATE, Demo
from streamlake_assets.errors import MissingToolError, TryLaterError, UsageError
from streamlake_assets.sidecar.nifi_outlet import NifiOutlet
from streamlake_assets.sources import bokeh_sample
from streamlake_assets.sources.bar_lines import COLUMNS
from streamlake_assets.sources.replay_plan import SessionStep, plan_replay
from streamlake_assets_tests.conftest import settings_in


class FakePublisher:
    places: dict[tuple[str, int], int] = {}  # noqa: RUF012

    def send(self, *_: object) -> None:
        """Take it."""

    def flush(self) -> None:
        """Nothing waits."""


class FakeTables:
    """Tables that hold what a NiFi would have carried: it takes the file, then its rows appear."""

    def __init__(self, inbox: Path, arrives: bool = True) -> None:
        self.inbox = inbox
        self.arrives = arrives
        self.stored = 1_000
        self.seen: list[str] = []

    def wait(self, places: dict[tuple[str, int], int]) -> None:
        """All is there."""

    def total(self, _topic: str) -> int:
        for path in sorted(self.inbox.glob("*.flow.csv")):
            self.seen = path.read_text().splitlines()
            if self.arrives:
                self.stored += len(self.seen) - 1
                path.unlink()
        return self.stored


def outlet(tables: FakeTables, settled: bool = True) -> NifiOutlet:
    made = NifiOutlet(cast(Any, None), cast(Any, FakePublisher()), cast(Any, tables), tables.inbox, patience_s=0.3)
    made._has_settled = lambda step: settled  # type: ignore[method-assign]
    return made


@pytest.fixture(scope="module")
def step() -> SessionStep:
    sample = bokeh_sample.load()
    return plan_replay(sample.bars, sample.actions, held_back=3).live[-1]


def test_a_session_is_dropped_whole_and_waited_for(tmp_path: Path, step: SessionStep) -> None:
    tables = FakeTables(tmp_path)
    sent = outlet(tables).reveal(step)
    assert sent == len(list(step.records()))
    assert tables.seen[0] == ",".join(COLUMNS)
    assert len(tables.seen) == 1 + sent - len(step.actions)
    assert list(tmp_path.iterdir()) == [], "nothing is left, whole or unfinished"


def test_a_nifi_that_carries_nothing_is_told(tmp_path: Path, step: SessionStep) -> None:
    with pytest.raises(TryLaterError, match=r"of its bars did not arrive within 0\.3 s: see `streamlake nifi status`"):
        outlet(FakeTables(tmp_path, arrives=False)).reveal(step)


def test_the_number_alone_is_not_enough(tmp_path: Path, step: SessionStep) -> None:
    # others may send too, and NiFi may repeat
    with pytest.raises(TryLaterError):
        outlet(FakeTables(tmp_path), settled=False).reveal(step)


@pytest.mark.parametrize(("speed", "rate"), [(None, MOST_RATE), (1.0, 1_200), (0.01, 12), (100.0, MOST_RATE)])
def test_the_rate_leaves_time_for_the_way(tmp_path: Path, speed: float | None, rate: int) -> None:
    demo = Demo(settings_in(tmp_path), cast(Any, None), lambda _: None, speed, nifi=True)
    assert demo._rate() == rate


def test_nifi_is_used_where_it_can_run_and_the_reason_is_said_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(supervise, "find_nifi_java", lambda _: "/a/jdk/bin/java")
    assert supervise.with_nifi(settings_in(tmp_path), None, said.append) and not said
    assert not supervise.with_nifi(settings_in(tmp_path), False, said.append) and not said
    monkeypatch.setattr(supervise, "find_nifi_java", lambda _: None)
    assert not supervise.with_nifi(settings_in(tmp_path), None, said.append)
    assert "no JDK 21" in said[-1] and "Python replay" in said[-1]
    elsewhere = settings_in(tmp_path, nifi_url="https://nifi:8443")
    assert not supervise.with_nifi(elsewhere, None, said.append)
    assert "https://nifi:8443" in said[-1]
    with pytest.raises(UsageError, match="no local NiFi"):
        supervise.with_nifi(elsewhere, True, said.append)


def test_asked_for_without_a_jdk_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlake_assets.servers.tools.find_nifi_java", lambda _: None)
    with pytest.raises(MissingToolError, match="openjdk-21"):
        supervise.with_nifi(settings_in(tmp_path), True, lambda _: None)
