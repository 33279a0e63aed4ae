"""The reader alone on a full topic: what its fetch settings cost in memory, and whether small ones cost throughput.

Each measurement is a process with ``KafkaReader`` on four partitions with messages of 300 B. Memory: greatest resident
set while it takes 5,000 every 0.1 s and then pauses, as in an outage, with 10,000 messages waiting and with a million.
Throughput: a million as fast as it can. Timed: from the first message to the last.

``python -m benchmarks.cases.prefetch --rounds 3`` takes about 2 minutes a round and setting.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import structlog
import typer

from benchmarks import machine
from benchmarks.cases.group import broker
from streamlake_assets.broker.publisher import Publisher
from streamlake_assets.broker.reader import KafkaReader
from streamlake_assets.broker.topics import ensure_topics

NAME = "prefetch"
SMALL, FULL = 10_000, 1_000_000
TAKE = 5_000
_UNBOUNDED = {
    "queued.max.messages.kbytes": 16_384,
    "fetch.message.max.bytes": 1_048_576,
    "fetch.max.bytes": 52_428_800,
    "message.max.bytes": 1_000_000,
    "fetch.queue.backoff.ms": 1_000,
}


def _bounded(queue_kib: int, partition_kib: int) -> dict[str, int]:
    size = partition_kib * 1024
    return {
        "queued.max.messages.kbytes": queue_kib,
        "fetch.message.max.bytes": size,
        "message.max.bytes": size,
        "fetch.max.bytes": 2 * size,
        "fetch.queue.backoff.ms": 10,
    }


SETTINGS: dict[str, dict[str, int]] = {
    "1 MiB": _bounded(1_024, 128),
    "2 MiB": _bounded(2_048, 256),
    "4 MiB": _bounded(4_096, 512),
    "16 MiB, fetches unbounded": _UNBOUNDED,
}


def run(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure every setting ``rounds`` times, in turn, on one broker."""
    results = []
    with broker(()) as (kafka, server):
        ensure_topics(kafka, ["small", "full"])
        for topic, count in (("small", SMALL), ("full", FULL)):
            with Publisher(kafka) as publisher:
                for number in range(count):
                    publisher.send(topic, f"K{number % 40}", os.urandom(150).hex().encode())
        for number in range(rounds):
            figures: dict[str, float] = {}
            for name, config in SETTINGS.items():
                small, full = (_child(kafka, topic, 0, config)["rss_mib"] for topic in ("small", "full"))
                drained = _child(kafka, "full", FULL, config)
                ratio = round(full / small, 3)
                figures |= {f"{name}: small_mib": small, f"{name}: full_mib": full, f"{name}: ratio": ratio}
                figures |= {f"{name}: {figure}": drained[figure] for figure in ("messages_per_s", "cpu_us", "per_take")}
            say(f"{NAME} round {number + 1}: {figures}")
            results.append(figures)
    return {"case": NAME, "servers": [server], "rounds": results}


def _child(kafka: str, topic: str, drain: int, config: dict[str, int]) -> dict[str, float]:
    spec = json.dumps({"kafka": kafka, "topic": topic, "drain": drain, "config": config})
    argv = [sys.executable, "-m", "benchmarks.cases.prefetch", "--child", spec]
    ended = subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=300)
    measured: dict[str, float] = json.loads(ended.stdout)
    return measured


def _measure(spec: dict[str, Any]) -> dict[str, float]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    reader = KafkaReader(spec["kafka"], f"group-{os.getpid()}", config=spec["config"])
    reader.subscribe([spec["topic"]], lambda _topic, _partitions: {}, lambda _places: None)
    process = psutil.Process()
    most, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    count = 0
    while not count:
        count = len(reader.take(1, 0.1))
    start, cpu, takes = time.perf_counter(), sum(process.cpu_times()[:2]), 0
    if spec["drain"]:
        while count < spec["drain"]:
            count += len(reader.take(TAKE, 0.5))
            takes += 1
    else:
        for _ in range(40):
            count += len(reader.take(TAKE, 0.1))
            takes += 1
            time.sleep(0.1)
        reader.pause()
        for _ in range(15):
            reader.take(1, 0.2)
    seconds, cpu = time.perf_counter() - start, sum(process.cpu_times()[:2]) - cpu
    done.set()
    watcher.join()
    reader.close()
    return {
        "rss_mib": round(most[0] / 2**20, 1),
        "messages_per_s": round(count / seconds),
        "cpu_us": round(cpu / count * 1e6, 2),
        "per_take": round(count / takes),
    }


def main() -> int:
    """Measure, or be a reader that is measured; return the exit code."""
    parser = argparse.ArgumentParser(description="The reader alone on a full topic.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(_measure(arguments.child)))
        return 0
    # so that an end by signal ends the broker too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run(arguments.rounds, lambda line: typer.echo(line, err=True))
    sys.stdout.write(json.dumps({"machine": machine.facts(), **report}, indent=2, default=str) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
