"""The history of fault drills in the document store: one document for each drill, whole.

Belongs here: writing and reading that collection. Stays out: reports of which only the newest is kept (``documents``),
running a drill (``flows.drills``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from pymongo import MongoClient
from pymongo.errors import ConfigurationError, PyMongoError

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.settings import DATABASE, Settings

DRILLS: Final = "fault_drills"
_TIMEOUT_MS: Final = 5_000


class DrillHistory:
    """Reports of fault drills by the time they were made; use as a context manager."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                settings.mongo, serverSelectionTimeoutMS=_TIMEOUT_MS, connectTimeoutMS=_TIMEOUT_MS, tz_aware=True
            )
        except (ConfigurationError, ValueError) as error:
            raise SettingError(f"STREAMLAKE_MONGO_URL cannot be used: {error}") from None
        self._collection = self._client[DATABASE][DRILLS]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def add(self, report: dict[str, Any]) -> None:
        """Keep a report; its ``made_at`` is its key, so the same report twice is one.

        Raises:
            TryLaterError: the document store does not answer.
        """
        key = report["made_at"]
        with _outages("keeping a drill"):
            self._collection.replace_one({"_id": key}, {"_id": key, **report}, upsert=True)

    def newest(self, most: int) -> list[dict[str, Any]]:
        """Return the newest reports, the newest first.

        Raises:
            TryLaterError: the document store does not answer.
        """
        with _outages("reading drills"):
            return list(self._collection.find({}).sort("_id", -1).limit(most))


@contextmanager
def _outages(what: str) -> Iterator[None]:
    try:
        yield
    except PyMongoError as error:
        raise TryLaterError(f"{what}: {error}") from error
