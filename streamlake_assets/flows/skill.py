"""What the models of a training set are worth, read back from their folders.

Belongs here: the report. Stays out: judging models (``learning.train``, ``market.evaluation``), who speaks
(``champions``).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamlake_assets.errors import ModelRefusedError
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.learning.train import EVALUATION
from streamlake_assets.stores.model_folder import ModelFolder


def skill_report(models: ModelFolder, data_hash: str | None = None) -> list[dict[str, Any]]:
    """Return what the models of one training set are worth, best first within each target; default: the newest set."""
    manifests = [read_manifest(plain) for plain in models.catalogue().manifests]
    if not manifests:
        return []
    newest = max((manifest.last_session, manifest.trained_at) for manifest in manifests)
    wanted = data_hash or next(m.data_hash for m in manifests if (m.last_session, m.trained_at) == newest)
    report = [_worth(models, manifest) for manifest in manifests if manifest.data_hash == wanted]
    return sorted(report, key=lambda record: (record["target"], -record["skill"], record["version"]))


def missing_models(models: ModelFolder, report: Sequence[Mapping[str, Any]], specs: Iterable[ModelSpec]) -> list[str]:
    """Return a sentence for each spec that the report has no model of: its engine failed, or it was not trained again.

    Args:
        models: where older models are looked for.
        report: of one training set, from ``skill_report``.
        specs: that should have been trained.
    """
    there = {(record["name"], record["engine"]) for record in report}
    older: dict[tuple[str, str], Manifest] = {}
    for manifest in sorted(map(read_manifest, models.catalogue().manifests), key=lambda one: one.last_session):
        older[manifest.name, manifest.engine] = manifest
    told = []
    for spec in specs:
        if (spec.name, spec.engine) not in there:
            last = older.get((spec.name, spec.engine))
            stands = f"{last.version} of {last.last_session} still stands" if last else "there is none at all"
            told.append(f"{spec.engine} {spec.name}: no model of this training set, {stands}")
    return told


def _worth(models: ModelFolder, manifest: Manifest) -> dict[str, Any]:
    names = (
        *(
            "name",
            "engine",
            "version",
            "skill",
            "skill_low",
            "skill_high",
            "has_skill",
            "log_e",
            "rmse",
            "baseline_rmse",
        ),
        *("direction_accuracy", "direction_base_rate", "test_rows"),
    )
    found = {
        "target": manifest.target.value,
        **{name: getattr(manifest, name) for name in names},
        "last_session": manifest.last_session.isoformat(),
    }
    try:
        said = json.loads((models.open(manifest.version) / EVALUATION).read_text())
    except ModelRefusedError as error:
        return {**found, "refused": str(error)}
    evaluation, over = said["evaluation"], said["over_seeds"]
    if evaluation is not None:
        strongest = evaluation["baselines"][0]
        coverage, test = evaluation["coverage"], evaluation["clark_west"]
        found |= {
            "ic": evaluation["ic"]["mean"],
            "strongest_baseline": strongest["name"],
            "skill_over_strongest": strongest["skill"],
            "clark_west_p": None if test is None else test["p_value"],
            "coverage": None if coverage is None else coverage["share"],
            "quarters_in_goal": None if coverage is None else coverage["in_goal"],
        }
    if "skill" in over:
        found |= {f"skill_{name}": over["skill"][name] for name in ("mean", "deviation", "seeds")}
    return found
