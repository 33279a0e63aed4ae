"""The document store: session documents and feature buckets, read often, replaced whole.

Belongs here: one repository on the MongoDB protocol. It uses only what both MongoDB and the local stand-in do: finds
with simple filters, ordered keys as ``_id``, unordered bulk replaces. Stays out: what a document says
(``market.session_documents``), when it is made again (``flows.documents``).
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal
from typing import Any

import numpy as np
from bson import Binary, Decimal128, encode
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, ReplaceOne
from pymongo.cursor import Cursor
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure

from streamlake_assets.errors import SettingError, TryLaterError
from streamlake_assets.market.series import SessionSeries
from streamlake_assets.market.session_documents import SessionDocument
from streamlake_assets.market.types import AssetClass, Instrument, Interval
from streamlake_assets.settings import DATABASE, Settings

SESSIONS = "session_bars"
BUCKETS = "feature_buckets"
PERIODS = "periods"
STATE = "cache_state"
REPORTS = "reports"
_WRITES_PER_CALL = 1_000
_BYTES_PER_CALL = 8_000_000
"""The driver would put up to 48 MB into one message, which takes the stand-in several times as much memory."""
_READS_PER_CALL = 1_000
"""Documents of one reply. MongoDB ends a reply at 16 MB by itself; the stand-in sends all that is left, which for the
buckets of a million bars is more than a client takes."""
_MOST_PREFIXES = 100
_SILENT_MS = 120_000
"""A store that says nothing for so long on an open connection is away."""
_DECIMAL128 = Context(prec=34)
ARRAYS = ("open", "high", "low", "close", "volume", "factor")
"""Arrays of a bucket beside its sessions."""


class DocumentStore:
    """Session documents, feature buckets and what they were made from."""

    def __init__(self, settings: Settings, silent_ms: int = _SILENT_MS) -> None:
        try:
            self._client: MongoClient[dict[str, Any]] = MongoClient(
                settings.mongo,
                serverSelectionTimeoutMS=5_000,
                connectTimeoutMS=5_000,
                socketTimeoutMS=silent_ms,
                tz_aware=True,
            )
        except (ConfigurationError, ValueError) as error:
            raise SettingError(f"STREAMLAKE_MONGO_URL cannot be used: {error}") from None
        self._database = self._client[DATABASE]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def put_sessions(self, documents: Iterable[SessionDocument]) -> int:
        """Replace or insert session documents; return how many were written."""
        return self.replace(SESSIONS, (_session_record(document) for document in documents))

    def sessions(
        self, instrument: Instrument | None = None, first: dt.date | None = None, last: dt.date | None = None
    ) -> list[SessionDocument]:
        """Return session documents in key order, of one instrument or all, between two dates inclusive."""
        query: dict[str, Any] = {}
        if instrument is not None:
            query = _key_range(instrument, first, last)
        elif first is not None or last is not None:
            bounds = {"$gte": first and first.isoformat(), "$lte": last and last.isoformat()}
            query["session"] = {name: value for name, value in bounds.items() if value}
        with _outages("reading session documents"):
            return [_session_document(record) for record in self._in_order(SESSIONS, query)]

    def session_keys(self, instrument: Instrument, first: dt.date, last: dt.date) -> set[str]:
        """Return the keys of an instrument's session documents between two dates inclusive."""
        with _outages("reading the keys of session documents"):
            found = self._database[SESSIONS].find(_key_range(instrument, first, last), {"_id": 1})
            return {record["_id"] for record in found}

    def session_sizes(self) -> dict[str, int]:
        """Return by key of how many bars each session document says that it was made."""
        with _outages("reading the sizes of session documents"):
            found = self._database[SESSIONS].find({}, {"bars": 1}).batch_size(_READS_PER_CALL)
            return {record["_id"]: int(record.get("bars", 0)) for record in found}

    def session_digests(self, first: dt.date) -> dict[str, str]:
        """Return by key the SHA-256, in hexadecimal, of each session document since a date, as it is stored."""
        with _outages("reading session documents"):
            return {
                record["_id"]: _digest(record)
                for record in self._in_order(SESSIONS, {"session": {"$gte": first.isoformat()}})
            }

    def remove_sessions(self, keys: Iterable[str]) -> None:
        """Remove session documents by key."""
        self.remove(SESSIONS, keys)

    def remove_buckets(self, instrument: Instrument, years: Iterable[int]) -> None:
        """Remove feature buckets of an instrument by year."""
        self.remove(BUCKETS, (f"{instrument}|{year}" for year in years))

    def remove_all_buckets_but(self, kept: Iterable[tuple[Instrument, int]]) -> None:
        """Remove the feature buckets of all instruments and years but these."""
        self.remove(BUCKETS, self.keys(BUCKETS, "") - {f"{instrument}|{year}" for instrument, year in kept})

    def put_buckets(self, buckets: Iterable[tuple[int, SessionSeries]]) -> int:
        """Replace or insert feature buckets, each a year of one instrument; return how many were written."""
        return self.replace(BUCKETS, (_bucket_record(year, series) for year, series in buckets))

    def series(self, instrument: Instrument | None = None) -> list[SessionSeries]:
        """Return the whole series of each instrument, joined from its yearly buckets."""
        query = {} if instrument is None else {"_id": {"$gte": f"{instrument}|", "$lte": f"{instrument}|~"}}
        with _outages("reading feature buckets"):
            records = list(self._in_order(BUCKETS, query))
        parts: dict[Instrument, list[dict[str, Any]]] = {}
        for record in records:
            parts.setdefault(Instrument(record["symbol"], record["exchange"]), []).append(record)
        return [_join(of, years) for of, years in parts.items()]

    def state(self) -> dict[str, Any] | None:
        """Return what the session documents were made from, or None before the first refresh."""
        with _outages("reading the cache state"):
            return self._database[STATE].find_one({"_id": SESSIONS})

    def touch_cursor(self) -> dict[str, int]:
        """Return how far the streams are reflected: next offset by ``stream_id:partition``; empty before a refresh."""
        state = self.state()
        return dict(state["touch_cursor"]) if state else {}

    def put_state(self, state: dict[str, Any]) -> None:
        """Store what the session documents were made from; written after them, so it never says too much."""
        with _outages("writing the cache state"):
            self._database[STATE].replace_one({"_id": SESSIONS}, {"_id": SESSIONS, **state}, upsert=True)

    def put_report(self, name: str, report: dict[str, Any]) -> None:
        """Store a report by name, replacing the last one."""
        with _outages("writing a report"):
            self._database[REPORTS].replace_one({"_id": name}, {"_id": name, **report}, upsert=True)

    def report(self, name: str) -> dict[str, Any] | None:
        """Return a report by name."""
        with _outages("reading a report"):
            return self._database[REPORTS].find_one({"_id": name})

    def count(self, collection: str) -> int:
        """Return the number of documents of a collection."""
        with _outages("counting documents"):
            return int(self._database[collection].count_documents({}))

    def clear(self) -> None:
        """Remove all documents; the next refresh makes them again."""
        with _outages("clearing documents"):
            for name in (SESSIONS, BUCKETS, PERIODS, STATE):
                self._database[name].delete_many({})

    def by_keys(self, collection: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Return the documents of a collection that have these keys, by key."""
        if not keys:
            return []
        with _outages(f"reading {collection}"):
            return list(self._in_order(collection, {"_id": {"$in": list(keys)}}))

    def _in_order(self, collection: str, query: Mapping[str, Any]) -> Cursor[dict[str, Any]]:
        return self._database[collection].find(query).sort("_id", 1).batch_size(_READS_PER_CALL)

    def keys(self, collection: str, *prefixes: str) -> set[str]:
        """Return the keys of a collection that begin with one of these."""
        if not prefixes:
            return set()
        # many are told apart here: a condition for each would be tried on every document
        wanted = {} if len(prefixes) > _MOST_PREFIXES else {"$or": [_begins(prefix) for prefix in prefixes]}
        with _outages(f"reading the keys of {collection}"):
            found = (record["_id"] for record in self._database[collection].find(wanted, {"_id": 1}))
            return {key for key in found if key.startswith(prefixes)}

    def replace(self, collection: str, records: Iterable[dict[str, Any]]) -> int:
        """Replace or insert documents by their ``_id``; return how many were written."""
        written = 0
        for writes in _calls(records):
            with _outages(f"writing {collection}"):
                self._database[collection].bulk_write(writes, ordered=False)
            written += len(writes)
        return written

    def remove(self, collection: str, keys: Iterable[str]) -> None:
        """Remove documents of a collection by key."""
        gone = sorted(keys)
        for start in range(0, len(gone), _WRITES_PER_CALL):
            with _outages(f"removing from {collection}"):
                self._database[collection].delete_many({"_id": {"$in": gone[start : start + _WRITES_PER_CALL]}})


def _calls(records: Iterable[dict[str, Any]]) -> Iterator[list[ReplaceOne[Any]]]:
    """Cut what is to be written into calls of so many documents, or so many bytes, at most."""
    writes: list[ReplaceOne[Any]] = []
    size = 0
    for record in records:
        # encoded here, once: how large a document is can only be told of its bytes
        raw = encode(record)
        if writes and (len(writes) == _WRITES_PER_CALL or size + len(raw) > _BYTES_PER_CALL):
            yield writes
            writes, size = [], 0
        writes.append(ReplaceOne({"_id": record["_id"]}, RawBSONDocument(raw), upsert=True))
        size += len(raw)
    if writes:
        yield writes


def _begins(prefix: str) -> dict[str, Any]:
    # past every sign that a key may hold: a subject may be any text
    return {"_id": {"$gte": prefix, "$lt": f"{prefix}\U0010ffff"}}


def _key_range(instrument: Instrument, first: dt.date | None, last: dt.date | None) -> dict[str, Any]:
    return {"_id": {"$gte": f"{instrument}|{first or ''}", "$lte": f"{instrument}|{last or '~'}"}}


@contextmanager
def _outages(what: str) -> Iterator[None]:
    try:
        yield
    except ConnectionFailure as error:
        raise TryLaterError(f"{what}: the document store does not answer ({error})") from error
    except OperationFailure as error:
        if error.code in (13, 18):
            raise SettingError(f"{what}: STREAMLAKE_MONGO_URL is not allowed to ({error.details})") from None
        raise


def _session_record(document: SessionDocument) -> dict[str, Any]:
    return {
        "_id": document.key,
        "symbol": document.instrument.symbol,
        "exchange": document.instrument.exchange,
        "session": document.session.isoformat(),
        "bar_time": document.bar_time,
        "interval": document.interval.value,
        "bars": document.bars,
        **{name: _decimal128(getattr(document, name)) for name in ("open", "high", "low", "close", "volume", "vwap")},
        "realised_volatility": document.realised_volatility,
        "gaps": document.gaps,
        "synthetic": document.synthetic,
        "complete": document.complete,
        "watermark": document.watermark,
    }


def session_digest(document: SessionDocument) -> str:
    """Return the digest that a session document has when it is stored as it is."""
    return _digest(_session_record(document))


def _digest(record: Mapping[str, Any]) -> str:
    # fields by name: a store may give them in an order of its own
    return hashlib.sha256(encode(dict(sorted(record.items())))).hexdigest()


def _session_document(record: dict[str, Any]) -> SessionDocument:
    return SessionDocument(
        instrument=Instrument(record["symbol"], record["exchange"]),
        session=dt.date.fromisoformat(record["session"]),
        interval=Interval(record["interval"]),
        bars=record["bars"],
        open=record["open"].to_decimal(),
        high=record["high"].to_decimal(),
        low=record["low"].to_decimal(),
        close=record["close"].to_decimal(),
        volume=None if record["volume"] is None else record["volume"].to_decimal(),
        vwap=None if record["vwap"] is None else record["vwap"].to_decimal(),
        realised_volatility=record["realised_volatility"],
        gaps=record["gaps"],
        synthetic=record["synthetic"],
        complete=record["complete"],
        watermark=record["watermark"],
    )


def _decimal128(value: Decimal | None) -> Decimal128 | None:
    # without trailing zeros of the table's scale: equal numbers are equal bytes; the default context would round to 28
    return None if value is None else Decimal128(format(value.normalize(_DECIMAL128), "f"))


def _bucket_record(year: int, series: SessionSeries) -> dict[str, Any]:
    record: dict[str, Any] = {
        "_id": f"{series.symbol}|{series.exchange}|{year}",
        "symbol": series.symbol,
        "exchange": series.exchange,
        "asset_class": series.asset_class.value,
        "year": year,
        "count": len(series.sessions),
        "sessions": Binary(np.ascontiguousarray(series.sessions, dtype="<i8").tobytes()),
    }
    for name in ARRAYS:
        record[name] = Binary(np.ascontiguousarray(getattr(series, name), dtype="<f8").tobytes())
    return record


def _join(of: Instrument, years: Sequence[dict[str, Any]]) -> SessionSeries:
    def joined(name: str, kind: str) -> Any:
        return np.concatenate([np.frombuffer(record[name], dtype=kind) for record in years])

    return SessionSeries(
        symbol=of.symbol,
        exchange=of.exchange,
        asset_class=AssetClass(years[-1]["asset_class"]),
        sessions=joined("sessions", "<i8").astype(np.int64),
        **{name: joined(name, "<f8").astype(np.float64) for name in ARRAYS},
    )
