"""Champions: models of known skill published and registered, the gate asked, hands laid on, files broken."""

import os
from pathlib import Path

import pytest

from streamlake_assets.commands import models as commands
from streamlake_assets.errors import UsageError
from streamlake_assets.flows import champions
from streamlake_assets.learning.manifest import Manifest
from streamlake_assets.market.series import SessionSeries, from_ordinal
from streamlake_assets.market.targets import Target
from streamlake_assets.settings import DatabaseRole
from streamlake_assets.stores import model_register
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets_tests.conftest import settings_in
from streamlake_assets_tests.learning_runs import TrainingRun, train_all
from streamlake_assets_tests.series_data import planted_range, random_walks
from streamlake_assets_tests.tables import Database

pytestmark = pytest.mark.servers
RANGE, RETURN = Target.LOG_RANGE, Target.ADJUSTED_RETURN


@pytest.fixture(scope="module")
def series() -> list[SessionSeries]:
    return [planted_range(650, s, f"S{s}") for s in range(2)]


@pytest.fixture(scope="module")
def run(series: list[SessionSeries]) -> TrainingRun:
    """Models up to the session before the last 20: a signal in the range, none in the return."""
    return train_all(series, until=from_ordinal(series[0].sessions[-21]))


@pytest.fixture(scope="module")
def later(series: list[SessionSeries]) -> TrainingRun:
    return train_all(series)


@pytest.fixture
def models(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "models")


def publish(database: Database, models: ModelFolder, run: TrainingRun) -> None:
    for model in run.models:
        with models.staging() as folder:
            model.save(folder)
            models.publish(folder, model.manifest.to_dict())
    model_register.register_models(database.writer, (models.manifest(m.version) for m in run.manifests))


def of(run: TrainingRun, target: Target, engine: str) -> Manifest:
    return next(m for m in run.manifests if (m.target, m.engine) == (target, engine))


def speaking(database: Database) -> dict[Target, str]:
    return model_register.champions(database.writer)


def test_what_passes_the_gate_speaks_and_the_baseline_does_elsewhere(
    database: Database, models: ModelFolder, run: TrainingRun
) -> None:
    publish(database, models, run)
    named = {one.target: one for one in champions.name_champions(database.writer, models)}
    assert named[RANGE].version == of(run, RANGE, "sklearn").version
    assert named[RANGE].decision.promote
    assert "passes" in named[RANGE].reason
    assert named[RETURN].version == of(run, RETURN, "baseline").version
    assert "nothing passes" in named[RETURN].reason
    assert speaking(database) == {target: one.version for target, one in named.items()}
    assert champions.champion_of(database.writer, models, RANGE).model.version == named[RANGE].version


def test_without_version_zero_nobody_is_named(database: Database, models: ModelFolder, run: TrainingRun) -> None:
    only = TrainingRun(tuple(m for m in run.models if not m.manifest.is_version_zero), run.frame, run.data_hash, ())
    publish(database, models, only)
    with pytest.raises(UsageError, match="no version 0"):
        champions.name_champions(database.writer, models)


def test_a_folder_that_is_not_registered_is_no_challenger(
    database: Database, models: ModelFolder, run: TrainingRun
) -> None:
    publish(database, models, run)
    champions.name_champions(database.writer, models)
    stranger = of(run, RANGE, "sklearn")
    # as if somebody laid a folder there: the register does not know it
    with database.writer.begin() as connection:
        connection.exec_driver_sql("DELETE FROM champions")
        connection.exec_driver_sql("DELETE FROM model_versions WHERE version = %s", (stranger.version,))
    named = {one.target: one.version for one in champions.name_champions(database.writer, models)}
    assert named[RANGE] == of(run, RANGE, "baseline").version


def test_a_new_fit_of_the_champion_takes_over_and_a_broken_one_leaves_it_to_the_old(
    database: Database, models: ModelFolder, run: TrainingRun, later: TrainingRun
) -> None:
    publish(database, models, run)
    champions.name_champions(database.writer, models)
    publish(database, models, later)
    new, old = of(later, RANGE, "sklearn"), of(run, RANGE, "sklearn")
    champions.name_champions(database.writer, models)
    assert speaking(database)[RANGE] == new.version
    os.truncate(models.open(new.version) / "model.skops", 100)
    named = next(one for one in champions.name_champions(database.writer, models) if one.target is RANGE)
    assert (named.version, len(named.refused)) == (old.version, 1)
    assert new.version in named.reason
    assert speaking(database)[RANGE] == old.version


def test_of_the_returns_of_random_walks_the_baseline_speaks(database: Database, models: ModelFolder) -> None:
    walk = train_all(random_walks(650, 4, instruments=2))
    publish(database, models, walk)
    champions.name_champions(database.writer, models)
    # ranges that are drawn anew each day are forecast better by their mean than by an average of the newest ones
    assert speaking(database)[RETURN] == of(walk, RETURN, "baseline").version


def test_models_are_listed_shown_promoted_and_rolled_back_by_hand(
    database: Database, run: TrainingRun, later: TrainingRun, tmp_path: Path
) -> None:
    url = database.settings.mysql(DatabaseRole.MIGRATE)
    settings = settings_in(tmp_path, mysql_url=url)
    models = ModelFolder(settings.data_dir / "models")
    publish(database, models, run)
    champions.name_champions(database.writer, models)
    good, zero = of(run, RANGE, "sklearn").version, of(run, RANGE, "baseline").version
    listed = {one["version"]: one for one in commands.listing(settings, RANGE, 10)}
    assert set(listed) == {good, zero}
    assert (listed[good]["champion"], listed[good]["passed_gate"], listed[good]["files"]) == (True, True, True)
    shown = commands.show(settings, good)
    assert shown["champion"]
    assert shown["manifest"]["version"] == good
    assert "passes" in shown["reigns"][0]["reason"]

    with pytest.raises(UsageError, match="did not pass the gate"):
        commands.promote(settings, of(run, RETURN, "sklearn").version, "I like it")
    with pytest.raises(UsageError, match="no model m-unknown"):
        commands.show(settings, "m-unknown")
    with pytest.raises(UsageError, match="no model spoke for log_range before"):
        commands.rollback(settings, RANGE, "a test")

    assert commands.promote(settings, zero, "a test")["changed"]
    assert speaking(database)[RANGE] == zero
    champions.name_champions(database.writer, models)
    assert speaking(database)[RANGE] == zero, "what somebody took the word from is not promoted by itself again"
    publish(database, models, later)
    champions.name_champions(database.writer, models)
    new = of(later, RANGE, "sklearn").version
    assert speaking(database)[RANGE] == new, "a new fit is another version"
    assert commands.rollback(settings, RANGE, "worse on my desk")["version"] == zero
    assert (
        model_register.reigns(database.writer, RANGE)[0].reason == f"rolled back by hand from {new}: worse on my desk"
    )
