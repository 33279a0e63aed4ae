"""What tests of the NiFi flows share: files into watched folders, what arrives on topics and among the rejects."""

from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from streamlake_assets.broker.range_reader import RangeReader
from streamlake_assets.broker.topics import REJECTS_TOPIC, watermarks
from streamlake_assets.commands.nifi_parameters import inbox, rejects
from streamlake_assets.market.contract import decode_bar
from streamlake_assets.market.messages import Message
from streamlake_assets.market.types import Bar
from streamlake_assets.servers.waiting import wait_until
from streamlake_assets.settings import Settings
from streamlake_assets.sources.bar_lines import COLUMNS

HEADER = ",".join(COLUMNS)
GOOD = (
    "AAPL,1d,2013-01-14T05:00:00Z,100.5,101.123456789,99.1,100.25,12345678,,,settled,false,made.up,2013-01-14T21:00:00Z"
)
numbers = count()


def drop(settings: Settings, text: str | bytes) -> str:
    """Put a file into the folder that the replay watches and return its name."""
    name = f"file-{next(numbers)}.csv"
    drop_into(inbox(settings), name, text)
    return name


def drop_into(folder: Path, name: str, text: str | bytes) -> None:
    """Put a file into a watched folder, whole at once."""
    hidden = folder / f".{name}"
    hidden.write_bytes(text if isinstance(text, bytes) else text.encode())
    hidden.rename(folder / name)


def arrived(settings: Settings, topic: str) -> int:
    return sum(high for _, high in watermarks(settings.kafka, topic).values())


def messages(settings: Settings, topic: str) -> list[Message]:
    ranges = {(topic, number): marks for number, marks in watermarks(settings.kafka, topic).items()}
    reader = RangeReader(settings.kafka, ranges)
    found: list[Message] = []
    while not reader.done:
        found += reader.take(10_000, 1)
    reader.close()
    return found


def published(settings: Settings, topic: str) -> list[Bar]:
    return [decode_bar(one.value, one.key, one.broker_time) for one in messages(settings, topic)]


def refused(settings: Settings, *files: str) -> list[dict[str, Any]]:
    """Return the rejects of files that are on the topic of rejects."""
    found = [msgspec.json.decode(one.value or b"") for one in messages(settings, REJECTS_TOPIC)]
    return [one for one in found if one["file"] in files]


def wait_for_rejects(settings: Settings, name: str, number: int) -> list[dict[str, Any]]:
    def read() -> list[dict[str, Any]]:
        files = sorted(rejects(settings).glob(f"{name}.*.rejects.jsonl"))
        return [msgspec.json.decode(line) for file in files for line in file.read_text().splitlines()]

    assert wait_until(lambda: len(read()) == number, 20), read()
    return read()
