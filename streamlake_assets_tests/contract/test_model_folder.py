"""Model folders: whole or absent, verified before use, safe against kills and against what somebody put there."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.serve import load_champion
from streamlake_assets.learning.train import TrainedModel
from streamlake_assets.market.targets import Target
from streamlake_assets.stores.model_folder import MANIFEST, ModelFolder, Outcome, Published
from streamlake_assets_tests.learning_runs import train_all
from streamlake_assets_tests.series_data import planted_range


@pytest.fixture
def store(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "models")


def put(store: ModelFolder, version: str = "m-1", body: bytes = b"weights", **manifest: Any) -> Published:
    with store.staging() as folder:
        (folder / "model.bin").write_bytes(body)
        (folder / "parts").mkdir()
        (folder / "parts" / "0.npy").write_bytes(body * 2)
        return store.publish(folder, {"version": version, **manifest})


def test_a_published_model_is_found_and_opens(store: ModelFolder) -> None:
    published = put(store, skill=0.03)
    assert published.outcome is Outcome.NEW
    assert store.versions() == ["m-1"]
    folder = store.open("m-1", sha256=published.manifest_sha256)
    assert (folder / "parts" / "0.npy").read_bytes() == b"weightsweights"
    manifest = store.manifest("m-1")
    assert manifest["skill"] == 0.03
    assert set(manifest["files"]) == {"model.bin", "parts/0.npy"}


def test_publishing_again_changes_nothing(store: ModelFolder) -> None:
    first = put(store, skill=0.03)
    second = put(store, body=b"other bytes", skill=0.5)
    assert second.outcome is Outcome.SAME
    assert second.manifest_sha256 == first.manifest_sha256
    assert store.manifest("m-1")["skill"] == 0.03
    assert [p.name for p in first.folder.parent.iterdir()] == ["m-1"]


def test_nothing_is_there_before_the_first_model(store: ModelFolder) -> None:
    assert store.versions() == []
    with pytest.raises(ModelRefusedError, match="no readable manifest"):
        store.open("m-1")


def flip(folder: Path) -> None:
    raw = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(bytes([raw[0] ^ 1]) + raw[1:])


def link(folder: Path) -> None:
    (folder / "model.bin").unlink()
    (folder / "model.bin").symlink_to("/etc/hostname")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit": flip,
    "half a file": lambda f: os.truncate(f / "parts" / "0.npy", 3),
    "a file gone": lambda f: (f / "model.bin").unlink(),
    "a file more": lambda f: (f / "parts" / "extra.py").write_text("x = 1"),
    "a link": link,
    "no manifest": lambda f: (f / MANIFEST).unlink(),
    "half a manifest": lambda f: os.truncate(f / MANIFEST, 20),
    "another manifest": lambda f: (f / MANIFEST).write_text('{"version": "m-2", "files": {}}'),
    "a manifest without files": lambda f: (f / MANIFEST).write_text('{"version": "m-1"}'),
    "a manifest that is a list": lambda f: (f / MANIFEST).write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused(store: ModelFolder, damage: str) -> None:
    DAMAGES[damage](put(store).folder)
    with pytest.raises(ModelRefusedError):
        store.open("m-1")


@pytest.mark.parametrize("damage", DAMAGES)
def test_publishing_over_a_damaged_folder_repairs_it_and_keeps_the_evidence(store: ModelFolder, damage: str) -> None:
    folder = put(store).folder
    DAMAGES[damage](folder)
    assert put(store).outcome is Outcome.REPAIRED
    store.open("m-1")
    assert store.versions() == ["m-1"]
    assert len([p for p in folder.parent.iterdir() if p.name.startswith(".broken-m-1")]) == 1


def test_a_forged_manifest_is_refused_when_its_checksum_is_pinned(store: ModelFolder) -> None:
    published = put(store, skill=0.03)
    path = published.folder / MANIFEST
    path.write_text(path.read_text().replace("0.03", "0.99"))
    store.open("m-1")
    with pytest.raises(ModelRefusedError, match="registered"):
        store.open("m-1", sha256=published.manifest_sha256)


@pytest.mark.parametrize("version", ["", "../up", "a/b", ".hidden", "x" * 65, "m-1\n", "ü"])
def test_a_version_cannot_name_another_place(store: ModelFolder, version: str) -> None:
    with pytest.raises(UsageError, match="not a model version"):
        put(store, version)
    with pytest.raises(UsageError, match="not a model version"):
        store.open(version)


def test_only_a_staged_folder_with_files_is_published(store: ModelFolder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.bin").write_bytes(b"x")
    with pytest.raises(UsageError, match="not made by staging"):
        store.publish(elsewhere, {"version": "m-1"})
    with store.staging() as folder, pytest.raises(UsageError, match="must hold the model's files"):
        store.publish(folder, {"version": "m-1"})
    assert store.versions() == []


def test_what_is_not_published_leaves_nothing(store: ModelFolder, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), store.staging() as folder:
        (folder / "model.bin").write_bytes(b"x")
        raise RuntimeError("training failed")
    assert list((tmp_path / "models").iterdir()) == []


def test_the_catalogue_says_which_manifests_cannot_be_read(store: ModelFolder) -> None:
    put(store, "m-1")
    (put(store, "m-2").folder / MANIFEST).unlink()
    catalogue = store.catalogue()
    assert [m["version"] for m in catalogue.manifests] == ["m-1"]
    assert len(catalogue.refused) == 1
    assert "m-2" in catalogue.refused[0]


KILLED = """
import os, signal, sys
from pathlib import Path
from streamlake_assets.stores.model_folder import ModelFolder
left = int(sys.argv[2])
def dying(call):
    def wrapped(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*args, **kwargs)
    return wrapped
os.fsync, Path.rename, Path.write_text = dying(os.fsync), dying(Path.rename), dying(Path.write_text)
store = ModelFolder(Path(sys.argv[1]))
with store.staging() as folder:
    (folder / "model.bin").write_bytes(b"w" * 100_000)
    store.publish(folder, {"version": "m-1"})
"""


def test_a_kill_at_any_step_shows_the_whole_folder_or_none(tmp_path: Path) -> None:
    """Killed before each write, flush and rename in turn, until a run gets through."""
    seen_absent = 0
    for step in range(20):
        root = tmp_path / f"models-{step}"
        code = subprocess.run([sys.executable, "-c", KILLED, str(root), str(step)], check=False).returncode
        store = ModelFolder(root)
        for version in store.versions():
            store.open(version)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        seen_absent += not store.versions()
        assert put(store).outcome in (Outcome.NEW, Outcome.SAME)
        assert [p.name for p in root.iterdir()] == ["m-1"], "what the killed process left must be gone"
    assert code == 0
    assert seen_absent >= 4
    assert store.versions() == ["m-1"]


@pytest.fixture(scope="module")
def models() -> tuple[TrainedModel, ...]:
    series = [planted_range(650, s, f"S{s}") for s in range(2)]
    return train_all(series).models


def publish_all(store: ModelFolder, models: tuple[TrainedModel, ...]) -> None:
    for model in models:
        with store.staging() as folder:
            model.save(folder)
            store.publish(folder, model.manifest.to_dict())


def test_trained_models_are_published_and_the_champion_loads(
    store: ModelFolder, models: tuple[TrainedModel, ...]
) -> None:
    publish_all(store, models)
    manifests = store.catalogue().manifests
    champion = load_champion(Target.LOG_RANGE, manifests, store.open)
    assert champion.refused == ()
    assert champion.model.engine == "sklearn"
    assert champion.model.has_skill
    assert load_champion(Target.ADJUSTED_RETURN, manifests, store.open).model.engine == "baseline"


def test_a_corrupt_champion_hands_over_to_version_zero_and_says_so(
    store: ModelFolder, models: tuple[TrainedModel, ...]
) -> None:
    publish_all(store, models)
    manifests = store.catalogue().manifests
    best = load_champion(Target.LOG_RANGE, manifests, store.open).model.version
    os.truncate(store.open(best) / "model.skops", 100)
    champion = load_champion(Target.LOG_RANGE, manifests, store.open)
    assert champion.model.engine == "baseline"
    assert best in champion.refused[0]
    (store.open(champion.model.version) / "baseline.json").unlink()
    with pytest.raises(ModelRefusedError, match="no model of log_range can serve"):
        load_champion(Target.LOG_RANGE, manifests, store.open)
