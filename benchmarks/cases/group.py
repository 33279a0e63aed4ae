"""Members of one group come and go: for how long does a partition deliver nothing, under each way to share partitions.

Members are processes with ``KafkaReader`` on a topic of four partitions that gets a message per partition every 20 ms;
where to begin is kept in a file, as the consumer keeps it in MySQL. Timed: the longest time between two deliveries of a
partition around an event, from the last delivery before it to the moment the group has settled. Not timed: starting the
broker. Checked: no offset is left out. A figure is that of the partitions of the member that the event is about,
``others`` that of all the rest: join (a third member), leave (it ends by SIGTERM), restart (SIGTERM, started again at
once), crash (SIGKILL, started again at once), kill (SIGKILL, not started again).

``python -m benchmarks.cases.group --rounds 3 [--only VARIANT]`` measures every variant (40 s to 3 min a round each).
"""

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import typer
from confluent_kafka import Producer

from benchmarks import machine
from streamlake_assets.broker.reader import PROTOCOL, GroupProtocol, KafkaReader
from streamlake_assets.broker.topics import PARTITIONS, client_config, ensure_topics
from streamlake_assets.errors import IntegrityError
from streamlake_assets.servers.home import Home
from streamlake_assets.servers.kafka import LocalKafka
from streamlake_assets.servers.process import ChildRegistry
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import LOOPBACK, Settings

NAME = "group"
PACE_S = 0.02
SETTLED_S = 1.0
PATIENCE_S = 120.0
RETRY_S = 1.0


class Variant(NamedTuple):
    """One way to be a group; ``client`` is added to the reader's settings, ``broker`` to the broker's properties."""

    protocol: GroupProtocol
    static: bool = False
    client: tuple[tuple[str, int], ...] = ()
    broker: tuple[tuple[str, int], ...] = ()


_FAST_BROKER = (
    ("group.consumer.min.session.timeout.ms", 6_000),
    ("group.consumer.session.timeout.ms", 10_000),
    ("group.consumer.min.heartbeat.interval.ms", 500),
    ("group.consumer.heartbeat.interval.ms", 500),
)
_SLOW = (("session.timeout.ms", 10_000), ("heartbeat.interval.ms", 2_000))
_BEAT = (("session.timeout.ms", 10_000), ("heartbeat.interval.ms", 500))
VARIANTS = {
    # as the reader is by default
    "default": Variant(PROTOCOL),
    "default, static": Variant(PROTOCOL, static=True),
    "range": Variant(GroupProtocol.RANGE, client=_SLOW),
    "range, static": Variant(GroupProtocol.RANGE, static=True, client=_SLOW),
    "cooperative": Variant(GroupProtocol.COOPERATIVE, client=_SLOW),
    "cooperative, static": Variant(GroupProtocol.COOPERATIVE, static=True, client=_SLOW),
    "cooperative, short": Variant(GroupProtocol.COOPERATIVE),
    "cooperative, beat": Variant(GroupProtocol.COOPERATIVE, client=_BEAT),
    "consumer": Variant(GroupProtocol.CONSUMER),
    "consumer, static": Variant(GroupProtocol.CONSUMER, static=True),
    "consumer, beat": Variant(GroupProtocol.CONSUMER, broker=_FAST_BROKER),
    "consumer, static, beat": Variant(GroupProtocol.CONSUMER, static=True, broker=_FAST_BROKER),
}


class Delivery(NamedTuple):
    """What one ``take`` handed out of one partition."""

    at: float
    member: str
    partition: int
    first: int
    last: int


def run(rounds: int, say: Callable[[str], None], only: Iterable[str] = VARIANTS) -> dict[str, Any]:
    """Measure each variant ``rounds`` times, each on a broker of its own with a new group a round."""
    results: list[dict[str, float]] = [{} for _ in range(rounds)]
    duplicates = {}
    for name in only:
        variant = VARIANTS[name]
        with broker(variant.broker) as (kafka, server):
            for number in range(rounds):
                with _Group(kafka, f"round-{number}", variant) as group:
                    figures = _round(group)
                    if variant.static and number == 0:
                        duplicates[name] = _duplicate(group)
                        say(f"{NAME} {name}, two with one instance id: {duplicates[name]}")
                    group.check()
                say(f"{NAME} {name} round {number + 1}: {figures}")
                results[number] |= {f"{name}: {figure}": value for figure, value in figures.items()}
    return {"case": NAME, "servers": [server], "rounds": results, "one_instance_id_twice": duplicates}


def _round(group: "_Group") -> dict[str, float]:
    for name in ("one", "two"):
        group.start(name)
    group.settle("one", "two")
    figures: dict[str, float] = {}

    def event(what: str, who: str, do: Callable[[], None], *members: str) -> None:
        before = group.owners
        start = time.monotonic()
        do()
        group.settle(*members)
        owners = before if who in before.values() else group.owners
        concerned = {partition for partition, owner in owners.items() if owner == who}
        figures[f"{what}_s"] = group.silence(concerned, start)
        figures[f"{what}_others_s"] = group.silence(set(owners) - concerned, start)

    event("join", "three", lambda: group.start("three"), "one", "two", "three")
    event("leave", "three", lambda: group.end("three", signal.SIGTERM), "one", "two")
    event("restart", "two", lambda: group.restart("two", signal.SIGTERM), "one", "two")
    event("crash", "two", lambda: group.restart("two", signal.SIGKILL), "one", "two")
    event("kill", "two", lambda: group.end("two", signal.SIGKILL), "one")
    return figures


def _duplicate(group: "_Group") -> dict[str, Any]:
    """Start a second member with the instance id of a living one; say who ended with what, after 15 s."""
    group.start("two")
    group.settle("one", "two")
    partitions = {partition for partition, owner in group.owners.items() if owner == "two"}
    start = time.monotonic()
    group.start("again", instance="two")
    wait_until(lambda: time.monotonic() > start + 15, 20)
    group.read()
    ended = {name: group.code(name) for name in ("two", "again") if group.code(name) is not None}
    said = {name: group.last_words(name) for name in ended}
    for name in ("two", "again"):
        group.end(name, signal.SIGKILL)
    return {"ended": ended, "said": said, "silent_s": group.silence(partitions, start)}


class _Group:
    """Members of one group, the pace of its topic, and what they delivered."""

    def __init__(self, kafka: str, name: str, variant: Variant) -> None:
        self._kafka, self._name, self._variant = kafka, name, variant
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: dict[str, int] = {}
        self._read: dict[Path, int] = {}
        self._wanted: tuple[str, ...] = ()
        self._stop = threading.Event()
        self.deliveries: list[Delivery] = []
        self.owners: dict[int, str] = {}

    def __enter__(self) -> "_Group":
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="streamlake-group-")))
            ensure_topics(self._kafka, [self._name])
            (self._folder / "offsets").write_bytes(bytes(8 * PARTITIONS))
            stack.callback(self._end_all)
            pace = threading.Thread(target=self._send)
            pace.start()
            stack.callback(pace.join)
            stack.callback(self._stop.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, name: str, instance: str | None = None) -> None:
        """Start a member."""
        spec = {
            "kafka": self._kafka, "topic": self._name, "protocol": self._variant.protocol, "folder": str(self._folder),
            "name": name, "instance": (instance or name) if self._variant.static else None,
            "config": dict(self._variant.client), "parent": os.getpid(),
        }  # fmt: skip
        argv = [sys.executable, "-m", "benchmarks.cases.group", "--member", json.dumps(spec)]
        self._children[name] = subprocess.Popen(argv, stdout=subprocess.DEVNULL)

    def end(self, name: str, number: signal.Signals) -> None:
        """Signal a member and wait for its end."""
        child = self._children.pop(name)
        child.send_signal(number)
        child.wait(30)

    def restart(self, name: str, number: signal.Signals) -> None:
        """End a member and start it again at once."""
        self.end(name, number)
        self.start(name)

    def code(self, name: str) -> int | None:
        """Return the exit code of a member that ended by itself."""
        return self._children[name].poll()

    def last_words(self, name: str) -> str:
        """Return what a member that failed said."""
        said = self._folder / f"{name}.end"
        return said.read_text() if said.exists() else ""

    def settle(self, *members: str) -> None:
        """Wait until each partition is delivered by one of these alone, and each of these delivers."""
        self._wanted = members
        since = time.monotonic()
        if not wait_until(lambda: time.monotonic() > since + SETTLED_S and self._settled(), PATIENCE_S):
            raise SystemExit(f"{NAME}: {self._variant} did not settle on {members} within {PATIENCE_S} s")

    def silence(self, partitions: set[int], start: float) -> float:
        """Return the longest time between deliveries of one of the partitions since the last one before ``start``."""
        longest = 0.0
        for partition in partitions:
            times = [delivery.at for delivery in self.deliveries if delivery.partition == partition]
            last = max((at for at in times if at <= start), default=start)
            times = [last, *(at for at in times if at > start)]
            longest = max([longest, *(after - before for before, after in pairwise(times))])
        return round(longest, 3)

    def check(self) -> None:
        """End the run if an offset was left out."""
        for partition in range(PARTITIONS):
            next_offset = 0
            parts = sorted((d.first, d.last) for d in self.deliveries if d.partition == partition)
            for first, last in parts:
                if first > next_offset:
                    raise SystemExit(f"{NAME}: {self._variant} left out {partition}@{next_offset} to {first}")
                next_offset = max(next_offset, last + 1)

    def read(self) -> None:
        """Take in what members wrote since the last time."""
        for path in self._folder.glob("*.log"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                text = file.read()
            whole = text[: text.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            for line in whole.splitlines():
                at, partition, first, last = line.split()
                self.deliveries.append(Delivery(float(at), path.stem, int(partition), int(first), int(last)))

    def _settled(self) -> bool:
        self.read()
        for name in self._wanted:
            # a supervisor would start it again, and so does this case
            if self._children[name].poll() is not None and time.monotonic() > self._ended.get(name, 0) + RETRY_S:
                self._ended[name] = int(time.monotonic())
                self.start(name)
        recent = time.monotonic() - SETTLED_S
        owners: dict[int, set[str]] = {}
        for delivery in reversed(self.deliveries[-4000:]):
            if delivery.at >= recent:
                owners.setdefault(delivery.partition, set()).add(delivery.member)
        names = {name for found in owners.values() for name in found}
        if len(owners) < PARTITIONS or any(len(found) > 1 for found in owners.values()) or names != set(self._wanted):
            return False
        self.owners = {partition: min(found) for partition, found in owners.items()}
        return True

    def _send(self) -> None:
        producer = Producer({**client_config(self._kafka), "linger.ms": 1})
        while not self._stop.wait(PACE_S):
            for partition in range(PARTITIONS):
                producer.produce(self._name, b"x" * 300, partition=partition)
            producer.poll(0)
        producer.flush(10)

    def _end_all(self) -> None:
        for child in self._children.values():
            child.kill()
            child.wait(30)


class _Broker(LocalKafka):
    """The local broker with more properties."""

    def __init__(self, settings: Settings, more: tuple[tuple[str, int], ...]) -> None:
        super().__init__(settings, ChildRegistry(Home.of(settings).create()))
        self._more = more

    def _write_properties(self, path: Path, data: Path) -> None:
        super()._write_properties(path, data)
        with path.open("a") as file:
            file.writelines(f"{key}={value}\n" for key, value in self._more)


@contextmanager
def broker(more: tuple[tuple[str, int], ...]) -> Iterator[tuple[str, str]]:
    """Run a broker with more properties in a temporary folder; yield its address and what it is."""
    with tempfile.TemporaryDirectory(prefix="streamlake-group-") as folder:
        with socket.create_server((LOOPBACK, 0)) as one, socket.create_server((LOOPBACK, 0)) as two:
            ports = {"kafka_port": one.getsockname()[1], "kafka_controller_port": two.getsockname()[1]}
        settings = Settings(_env_file=None, home=Path(folder) / "home", **ports)
        server = _Broker(settings, more)
        server.prepare(lambda _line: None)
        try:
            server.start()
            yield settings.kafka, server.info().what
        finally:
            server.stop()


def _member(spec: dict[str, Any]) -> int:
    """Consume until SIGTERM; end with 7 when the client fails for good."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    offsets = os.open(Path(spec["folder"]) / "offsets", os.O_RDWR)
    log = os.open(Path(spec["folder"]) / f"{spec['name']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def start_offsets(_topic: str, partitions: Iterable[int]) -> dict[int, int]:
        return {number: struct.unpack("q", os.pread(offsets, 8, 8 * number))[0] for number in partitions}

    reader = KafkaReader(
        spec["kafka"], f"group-{spec['topic']}", protocol=GroupProtocol(spec["protocol"]),
        instance_id=spec["instance"], config=spec["config"],
    )  # fmt: skip
    reader.subscribe([spec["topic"]], start_offsets, lambda _places: None)
    try:
        while not stopping.is_set() and os.getppid() == spec["parent"]:
            spans: dict[int, tuple[int, int]] = {}
            for message in reader.take(5_000, 0.1):
                first, _ = spans.get(message.partition, (message.offset, 0))
                spans[message.partition] = (first, message.offset)
            for partition, (first, last) in spans.items():
                os.pwrite(offsets, struct.pack("q", last + 1), 8 * partition)
                os.write(log, f"{time.monotonic():.4f} {partition} {first} {last}\n".encode())
                reader.commit({(spec["topic"], partition): last + 1})
    except IntegrityError as error:
        (Path(spec["folder"]) / f"{spec['name']}.end").write_text(str(error))
        return 7
    finally:
        reader.close()
    return 0


def main() -> int:
    """Measure, or be a member; return the exit code."""
    parser = argparse.ArgumentParser(description="Members of one group come and go.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=list(VARIANTS))
    parser.add_argument("--member", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        return _member(arguments.member)
    # so that an end by signal ends members and broker too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(arguments.rounds, lambda line: typer.echo(line, err=True), arguments.only or VARIANTS)
    sys.stdout.write(json.dumps({"machine": machine.facts(), **report}, indent=2, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
