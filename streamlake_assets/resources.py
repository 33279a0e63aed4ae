"""Dagster resources: thin factories of what the rooms below offer; no logic.

Belongs here: making engines, document stores and model folders for a run, from the settings of its process. Stays out:
everything they are used for (``flows``).
"""

import datetime as dt
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from streamlake_assets.settings import DatabaseRole, Settings, load_settings
from streamlake_assets.stores.documents import DocumentStore
from streamlake_assets.stores.model_folder import ModelFolder
from streamlake_assets.stores.mysql import make_engine


class StoreAccess:
    """What an asset may use: a plain object, so that a test passes its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def reader(self) -> sa.Engine:
        """Engine of the user that reads tables."""
        return make_engine(self.settings, DatabaseRole.READER)

    @cached_property
    def writer(self) -> sa.Engine:
        """Engine of the user that writes the ledger."""
        return make_engine(self.settings, DatabaseRole.WRITER)

    @cached_property
    def documents(self) -> DocumentStore:
        """The document store."""
        return DocumentStore(self.settings)

    @cached_property
    def models(self) -> ModelFolder:
        """The published models."""
        return ModelFolder(self.settings.data_dir / "models")

    @property
    def training_sets(self) -> Path:
        """Folder of training snapshots."""
        return self.settings.data_dir / "training"

    def now(self) -> dt.datetime:
        """Return the time of this moment, aware."""
        return dt.datetime.now(dt.UTC)

    def close(self) -> None:
        """Close the connections that were made; what is used again makes new ones."""
        made = vars(self)
        for name in ("reader", "writer"):
            if name in made:
                made.pop(name).dispose()
        if "documents" in made:
            made.pop("documents").close()


class StoreAccessResource(dg.ConfigurableResource[StoreAccess]):
    """Makes a ``StoreAccess`` from the environment of the run; nothing is read or connected before a run asks."""

    def create_resource(self, context: dg.InitResourceContext) -> StoreAccess:
        """Return the stores of this process's settings."""
        return StoreAccess(load_settings())

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[StoreAccess, None, None]:
        """Close the connections at the end of a run or tick: the process of the sensors lives for weeks."""
        access = self.create_resource(context)
        try:
            yield access
        finally:
            access.close()
