"""Model folders: published whole or not at all, verified before anybody opens them.

Belongs here: files, checksums, names, the manifest as plain JSON. Stays out: what is in the files and what the manifest
means (``learning``).

A version is one folder ``<root>/<version>`` with ``manifest.json`` and the model's files. It is written under a hidden
temporary name, flushed to disk, and renamed: a reader sees no folder or the whole one, also after a kill or power cut.
"""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from streamlake_assets.errors import ModelRefusedError, UsageError

MANIFEST = "manifest.json"
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_STAGING = ".staging-"
_BROKEN = ".broken-"


class Outcome(StrEnum):
    """What publishing did."""

    NEW = "new"
    SAME = "same"
    REPAIRED = "repaired"


@dataclass(frozen=True)
class Published:
    """Where a version lies, what happened, and the SHA-256 of its manifest (a database row may pin it)."""

    folder: Path
    outcome: Outcome
    manifest_sha256: str


@dataclass(frozen=True)
class Catalogue:
    """The manifests that can be read, and for each version that has none why not."""

    manifests: tuple[dict[str, Any], ...]
    refused: tuple[str, ...]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _files(folder: Path) -> dict[str, Path]:
    """Return the regular files of a folder by relative name, the manifest left out.

    Raises:
        ModelRefusedError: it holds a link or another thing that is not a file: such could point outside.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ModelRefusedError(f"{path}: not a regular file")
        if path.is_file() and path != folder / MANIFEST:
            found[path.relative_to(folder).as_posix()] = path
    return found


class ModelFolder:
    """The published models under one root folder; created at the first publication."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield an empty hidden folder to save a model in; what is not published is removed on leaving.

        Folders that a killed process left behind are removed on entering.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        for left in self._root.glob(f"{_STAGING}*"):
            owner = left.name.removeprefix(_STAGING).split("-")[0]
            if owner.isdigit() and not psutil.pid_exists(int(owner)):
                shutil.rmtree(left, ignore_errors=True)
        folder = self._root / f"{_STAGING}{os.getpid()}-{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, manifest: Mapping[str, Any]) -> Published:
        """Publish a staged folder as ``manifest["version"]``; checksums are added to the manifest as ``files``.

        A version that is there already is verified and kept as it is. If it is not whole, it is put aside under a
        hidden name and this one takes its place.

        Raises:
            UsageError: a bad version name, a folder from elsewhere, no file in it, or a manifest already in it.
        """
        version = self._checked(str(manifest.get("version", "")))
        files = _files(folder)
        if folder.parent != self._root or not folder.name.startswith(_STAGING):
            raise UsageError(f"{folder} was not made by staging() of {self._root}")
        if not files or (folder / MANIFEST).exists():
            raise UsageError(f"{folder} must hold the model's files and no {MANIFEST}")
        outcome = Outcome.NEW
        if (self._root / version).exists():
            try:
                return Published(self.open(version), Outcome.SAME, _sha256(self._root / version / MANIFEST))
            except ModelRefusedError:
                (self._root / version).rename(self._root / f"{_BROKEN}{version}-{uuid.uuid4().hex}")
                outcome = Outcome.REPAIRED
        body = dict(manifest) | {"files": {name: _sha256(path) for name, path in files.items()}}
        (folder / MANIFEST).write_text(json.dumps(body, indent=2, sort_keys=True, allow_nan=False) + "\n")
        for path in (*folder.rglob("*"), folder):
            _sync(path)
        try:
            folder.rename(self._root / version)
        except OSError:
            # another process published the same version in between: the rename onto a full folder fails
            if not (self._root / version).exists():
                raise
            return Published(self.open(version), Outcome.SAME, _sha256(self._root / version / MANIFEST))
        _sync(self._root)
        return Published(self._root / version, outcome, _sha256(self._root / version / MANIFEST))

    def versions(self) -> list[str]:
        """Return the published versions, sorted by name; not verified."""
        if not self._root.exists():
            return []
        return sorted(p.name for p in self._root.iterdir() if p.is_dir() and _VERSION.match(p.name))

    def manifest(self, version: str, *, sha256: str | None = None) -> dict[str, Any]:
        """Read a version's manifest as plain values, without looking at the files.

        Args:
            version: which one.
            sha256: what the manifest itself must hash to, if the caller knows.

        Raises:
            ModelRefusedError: it is missing, unreadable, of another version, or not the one that was pinned.
        """
        path = self._root / self._checked(version) / MANIFEST
        try:
            raw = path.read_bytes()
            body = json.loads(raw)
        except (OSError, ValueError) as error:
            raise ModelRefusedError(f"model {version}: no readable manifest ({error})") from error
        if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
            raise ModelRefusedError(f"model {version}: its manifest is not the one that was registered")
        if not isinstance(body, dict) or body.get("version") != version or not isinstance(body.get("files"), dict):
            raise ModelRefusedError(f"model {version}: the manifest is not one of this version")
        return body

    def catalogue(self) -> Catalogue:
        """Read the manifests of all versions; files are not looked at."""
        manifests, refused = [], []
        for version in self.versions():
            try:
                manifests.append(self.manifest(version))
            except ModelRefusedError as error:
                refused.append(str(error))
        return Catalogue(tuple(manifests), tuple(refused))

    def open(self, version: str, *, sha256: str | None = None) -> Path:
        """Verify every file of a version against its manifest and return the folder.

        Raises:
            ModelRefusedError: a file is missing, added or changed, or the manifest is refused.
        """
        said = self.manifest(version, sha256=sha256)["files"]
        folder = self._root / version
        found = _files(folder)
        if set(found) != set(said):
            raise ModelRefusedError(
                f"model {version}: missing files {sorted(set(said) - set(found))}, "
                f"unknown files {sorted(set(found) - set(said))}"
            )
        for name, path in found.items():
            if _sha256(path) != said[name]:
                raise ModelRefusedError(f"model {version}: {name} is not the file that was published")
        return folder

    @staticmethod
    def _checked(version: str) -> str:
        if not _VERSION.match(version):
            raise UsageError(f"{version!r} is not a model version")
        return version
