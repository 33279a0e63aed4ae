"""Drift of the training set against what the models learned from, as a verdict.

Belongs here: the join of snapshot and model folders. Stays out: the index and its limit (``market.drift``), what drift
leads to (``retraining``).
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from streamlake_assets.flows.training import read_training_set, specs_of
from streamlake_assets.learning.manifest import Manifest, read_manifest
from streamlake_assets.market.drift import LEAST_LIMIT, DriftReport, drift_since
from streamlake_assets.market.frames import TrainingFrame
from streamlake_assets.market.quality import Verdict
from streamlake_assets.market.series import ordinal
from streamlake_assets.settings import Settings
from streamlake_assets.stores.model_folder import ModelFolder

LIMIT_TEXT: Final = (
    f"a population stability index {LEAST_LIMIT:g} above chance, or as far as ordinary windows of training dates "
    "stray; it fails above that twice in a row"
)


def judge_drift(models: ModelFolder, settings: Settings) -> Verdict:
    """Judge whether the newest rows still come from where those came from that the newest models learned from.

    Of each spec that is trained by these settings the newest model counts; specs that were trained up to the same
    session are judged together, over all features that any of them takes. Too few dates since then are said, and are
    no drift.

    Args:
        models: the published models.
        settings: where the training set is, which engines train.

    Raises:
        UsageError: no training set was made yet.
        IntegrityError: the training set is not whole.
    """
    frame, _ = read_training_set(settings.data_dir / "training")
    trained = {
        (spec.name, spec.engine)
        for engine in settings.training_engines
        for spec in specs_of(engine, settings.min_history)
    }
    manifests = [read_manifest(plain) for plain in models.catalogue().manifests]
    learned = _learned_from([one for one in manifests if one.features and (one.name, one.engine) in trained])
    reports = {session: _report(frame, session, features) for session, features in sorted(learned.items())}
    if not reports:
        return Verdict(True, "no model that takes features was trained yet", {"drifted": [], "limit": LEAST_LIMIT})
    text = "; ".join(f"since {session}: {report.reason}" for session, report in reports.items())
    drifted = {session.isoformat(): _found(report) for session, report in reports.items() if report.drifted}
    facts = {
        "drifted": drifted,
        "limit": LEAST_LIMIT,
        "judged": {session.isoformat(): len(report.features) for session, report in reports.items()},
        "rows": {session.isoformat(): [report.train_rows, report.recent_rows] for session, report in reports.items()},
    }
    return Verdict(not drifted, text, facts)


def _learned_from(manifests: Sequence[Manifest]) -> dict[dt.date, set[str]]:
    """Return the features of the newest model of each spec, by the newest session it learned from."""
    newest: dict[tuple[str, str], Manifest] = {}
    for manifest in sorted(manifests, key=lambda one: (one.last_session, one.trained_at)):
        newest[manifest.name, manifest.engine] = manifest
    found: dict[dt.date, set[str]] = defaultdict(set)
    for manifest in newest.values():
        found[manifest.last_session].update(manifest.features)
    return found


def _report(frame: TrainingFrame, session: dt.date, features: set[str]) -> DriftReport:
    names = tuple(name for name in frame.names if name in features)
    learned = frame.target_sessions <= ordinal(session)
    return drift_since(names, frame.columns(names), frame.sessions, learned)


def _found(report: DriftReport) -> dict[str, list[float]]:
    """Return by feature that drifted: index above chance in the newest window, in the one before, and the limit."""
    return {
        feature.name: [round(value, 4) for value in (feature.newest.excess, feature.previous.excess, feature.limit)]
        for feature in report.features
        if feature.drifted
    }
