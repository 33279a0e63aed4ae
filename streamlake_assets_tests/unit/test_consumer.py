from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.errors import IntegrityError, TryLaterError
from streamlake_assets.sidecar.consumer import ConsumerProcess
from streamlake_assets.sidecar.handover import Stored
from streamlake_assets_tests.conftest import settings_in


class Watch:
    """Stands for the watch over the topics: ``seen`` is what it knows, ``there`` what it finds when it looks."""

    def __init__(self, seen: bool = False, there: bool = False) -> None:
        self.made_anew = seen
        self._there = there

    def look(self) -> bool:
        return self._there


class Loop:
    """An ingest loop that finds nothing, or a contradiction."""

    in_outage = False
    fenced = 0
    stuck = False
    stopped: frozenset[tuple[str, int]] = frozenset()

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def turn(self) -> list[Stored]:
        if self._error is not None:
            raise self._error
        return []


class Reader:
    joined = True

    def lag(self) -> dict[tuple[str, int], int]:
        return {}


def follow(tmp_path: Path, watch: Any, loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlake_assets.sidecar.stream_process.beat", lambda *_: None)
    ConsumerProcess(settings_in(tmp_path))._follow(watch, loop, Reader(), None)  # type: ignore[arg-type]


def test_an_offset_of_a_topic_that_is_gone_is_no_contradiction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TryLaterError, match=r"made anew.*out of range"):
        follow(tmp_path, Watch(there=True), Loop(IntegrityError("out of range")), monkeypatch)


def test_an_offset_of_the_same_topic_that_is_gone_is_a_contradiction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IntegrityError, match="out of range"):
        follow(tmp_path, Watch(), Loop(IntegrityError("out of range")), monkeypatch)


def test_a_topic_seen_to_be_made_anew_is_joined_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TryLaterError, match="made anew"):
        follow(tmp_path, Watch(seen=True), Loop(), monkeypatch)
