"""What pages read from the document store: settled daily history, how far it reaches, and which instruments it holds.

Belongs here: short bounded reads with plain filters, sorts and limits, which every server of this protocol knows.
Stays out: making documents, MySQL (``page_reader``).
"""

import datetime as dt
from typing import Any, Final

import pymongo
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from pymongo.errors import PyMongoError

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.market.contract import BARS_TOPIC
from streamlake_assets.market.session_documents import session_key
from streamlake_assets.market.sessions import UTC
from streamlake_assets.market.types import Instrument, Interval, Status
from streamlake_assets.settings import DATABASE, Settings
from streamlake_assets.stores.documents import SESSIONS, STATE
from streamlake_assets.stores.page_rows import DailyDocuments, PageBar, Watermark

MOST_INSTRUMENTS: Final = 500
_TIMEOUT_MS: Final = 1_000
_FIELDS: Final = ("bar_time", "open", "high", "low", "close", "volume", "synthetic", "interval")
_AFTER: Final = "\U0010ffff"
"""Sorts after every session: the end of one instrument's keys."""


class PageDocuments:
    """Reads of session documents for pages; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        try:
            self._client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(
                settings.mongo,
                serverSelectionTimeoutMS=_TIMEOUT_MS,
                connectTimeoutMS=_TIMEOUT_MS,
                socketTimeoutMS=5 * _TIMEOUT_MS,
            )
        except PyMongoError as error:
            raise SettingError(f"STREAMLAKE_MONGO_URL cannot be used: {error}") from error
        options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
        self._database = self._client.get_database(DATABASE, codec_options=options)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def watermark(self) -> Watermark | None:
        """Return how far the session documents reach; None when they were never made.

        Raises:
            TryLaterError: the document store is not available.
        """
        try:
            state = self._database[STATE].find_one({"_id": SESSIONS})
        except PyMongoError as error:
            raise TryLaterError(f"reading the documents' watermark: {error}") from error
        if state is None:
            return None
        offsets = {}
        for place, offset in state["next_offsets"].items():
            topic, _, partition = place.rpartition(":")
            if topic == BARS_TOPIC:
                offsets[int(partition)] = int(offset)
        return Watermark(str(state["cluster_id"]), str(state["topic_id"]), offsets)

    def daily(self, instrument: Instrument, most: int) -> DailyDocuments:
        """Return the newest complete sessions of an instrument as daily bars, at most ``most``.

        Raises:
            TryLaterError: the document store is not available.
        """
        first = f"{instrument}|"
        query = {"_id": {"$gte": first, "$lt": first + _AFTER}, "complete": True}
        try:
            found = list(
                self._database[SESSIONS]
                .find(query, dict.fromkeys(_FIELDS, 1))
                .sort("_id", pymongo.DESCENDING)
                .limit(most)
            )
        except PyMongoError as error:
            raise TryLaterError(f"reading documents of {instrument}: {error}") from error
        doubtful = (one["bar_time"] for one in found if one["synthetic"] and one["interval"] != Interval.D1.value)
        return DailyDocuments(tuple(_page_bar(document) for document in reversed(found)), frozenset(doubtful))

    def session(self, instrument: Instrument, session: dt.date) -> dict[str, Any] | None:
        """Return the document of one session as plain data; None when there is none.

        Raises:
            TryLaterError: the document store is not available.
        """
        try:
            return self._database[SESSIONS].find_one({"_id": session_key(instrument, session)})
        except PyMongoError as error:
            raise TryLaterError(f"reading the document of {instrument} {session}: {error}") from error

    def instruments(self) -> list[Instrument]:
        """Return the instruments that have documents, by jumping from key to key; for when MySQL cannot say.

        Raises:
            TryLaterError: the document store is not available.
        """
        found: list[Instrument] = []
        after = ""
        try:
            while len(found) < MOST_INSTRUMENTS:
                query = {"_id": {"$gt": after}}
                document = self._database[SESSIONS].find_one(query, {"symbol": 1, "exchange": 1}, sort=[("_id", 1)])
                if document is None:
                    break
                found.append(Instrument(document["symbol"], document["exchange"]))
                after = f"{found[-1]}|{_AFTER}"
        except PyMongoError as error:
            raise TryLaterError(f"reading the documents' instruments: {error}") from error
        return found


def _page_bar(document: dict[str, Any]) -> PageBar:
    volume = document["volume"]
    return PageBar(
        bar_time=document["bar_time"],
        open=_number(document["open"]),
        high=_number(document["high"]),
        low=_number(document["low"]),
        close=_number(document["close"]),
        volume=None if volume is None else _number(volume),
        status=Status.SETTLED,
        synthetic=bool(document["synthetic"]),
        version=None,
    )


def _number(value: Decimal128) -> float:
    return float(value.to_decimal())
