"""Who speaks for each target: the gate asked about all specs there ever were, its answer recorded; and who serves.

Belongs here: the joins between model folders, register and gate. Stays out: the rule itself (``market.gate``), training
(``training``), forecasts (``forecasting``).
"""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from streamlake_assets.errors import ModelRefusedError, UsageError
from streamlake_assets.learning.losses import read_losses
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.serve import Champion, load_champion, load_model
from streamlake_assets.learning.spec import Algorithm
from streamlake_assets.market.gate import Challenger, Evidence, GateDecision, decide, update
from streamlake_assets.market.targets import Target
from streamlake_assets.stores import model_register
from streamlake_assets.stores.model_folder import ModelFolder

CONTENDERS = frozenset({Algorithm.LINEAR, Algorithm.FOREST, Algorithm.BLOCK_FOREST})
"""What may speak; reference models are only held against it, and every further spec looked at would cost evidence."""


class Named(NamedTuple):
    """The decision about one target: the version that speaks, what the gate said, and whose files were refused."""

    target: Target
    version: str
    decision: GateDecision
    refused: tuple[str, ...]

    @property
    def reason(self) -> str:
        """In words."""
        return "; ".join((self.decision.reason, *self.refused))


def name_champions(engine: sa.Engine, models: ModelFolder) -> list[Named]:
    """Ask the gate about each target, record who speaks, and return the decisions.

    A spec is judged by its newest whole version; one that somebody rolled back is passed over until it is trained
    anew. The champion is a spec: its newest version takes over by itself.

    Raises:
        UsageError: no version 0 of a target is registered.
    """
    registered = model_register.registered(engine)
    manifests = [read_manifest(plain) for plain in models.catalogue().manifests if plain["version"] in registered]
    return [_name(engine, models, target, manifests) for target in Target]


def _name(engine: sa.Engine, models: ModelFolder, target: Target, manifests: Iterable[Manifest]) -> Named:
    reigns = model_register.reigns(engine, target)
    shunned = model_register.rolled_back(reigns)
    of_target = sorted(
        (m for m in manifests if m.target is target), key=lambda m: (m.last_session, m.trained_at), reverse=True
    )
    zero = next((m for m in of_target if m.is_version_zero), None)
    if zero is None:
        raise UsageError(f"no version 0 of {target} is registered: train first")
    refused: list[str] = []
    newest: dict[str, Manifest] = {}
    challengers: list[Challenger] = []
    for manifest in of_target:
        if manifest.spec.algorithm not in CONTENDERS or spec_key(manifest) in newest or manifest.version in shunned:
            continue
        try:
            losses = read_losses(models.open(manifest.version))
        except ModelRefusedError as error:
            refused.append(str(error))
            continue
        newest[spec_key(manifest)] = manifest
        challengers.append(Challenger(spec_key(manifest), update(Evidence(), losses), losses))
    speaks = next((m for m in of_target if reigns and m.version == reigns[0].version), None)
    champion = None if speaks is None else spec_key(speaks)
    decision = decide(challengers, champion, spec_key(zero))
    version = newest[decision.champion].version if decision.champion in newest else zero.version
    named = Named(target, version, decision, tuple(refused))
    model_register.set_champion(engine, target, version, named.reason)
    return named


def spec_key(manifest: Manifest) -> str:
    """Return the name under which the gate knows a model's spec."""
    return f"{manifest.engine}/{manifest.name}"


def champion_of(engine: sa.Engine, models: ModelFolder, target: Target) -> Champion:
    """Load the model that speaks for a target: the one the register names, not whatever lies in the folder.

    If its files are refused, the best other registered model serves and says why.

    Raises:
        UsageError: nothing has been trained.
        ModelRefusedError: no registered model of the target can be opened.
    """
    version = model_register.champions(engine).get(target)
    if version is None:
        raise UsageError(f"no model of {target} has been named champion: train first")
    try:
        return Champion(load_model(models.manifest(version), models.open(version)))
    except ModelRefusedError as error:
        registered = model_register.registered(engine)
        others = [m for m in models.catalogue().manifests if m["version"] in registered and m["version"] != version]
        try:
            successor = load_champion(target, others, models.open)
        except UsageError:
            raise error from None
        return Champion(successor.model, (str(error), *successor.refused))
