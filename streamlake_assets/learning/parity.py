"""The parity certificate: that the engines fit the same model, before anybody compares their speed.

Belongs here: the certificate, who is asked, where the tolerances come from. Stays out: the comparisons themselves
(``parity_checks``), how an engine fits, timing, whether a model has skill. scikit-learn is the reference: it fits in
this very process, exactly, at any seed.

A linear regression has one right answer, so engines must agree on it to ``LINEAR_TOLERANCE``. A forest is drawn by
chance, so engines must agree as well as seeds of one engine do. Each seed of the reference is held against the other
seeds, each seed of the engine against all of the reference; the means of the two groups may differ by

    t * s * sqrt(1/m + 1/n)

with s the standard deviation within the reference, m and n the numbers of seeds, t the quantile of Student's
distribution at m - 1 degrees of freedom for 99.9 % confidence (Student, 1908): what chance alone would seldom exceed.
This is done for R² on made rows whose R² is near 0.8, for the distance between forecasts there, and for the correlation
of forecasts on the real target. Made features are cut at 32 quantiles beforehand, so that an engine that splits at bins
and one that splits anywhere choose from the same splits; real features are not, which ``BINS_ALLOWANCE`` allows for.

A block forest is another model, and its row says so. It must equal scikit-learn's forests on the same blocks, tree by
tree, and its R² must lie between a forest's on one block of the rows and a forest's on all of them.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.learning.engines import DEFAULT_RESOURCES, Engine, Resources, engine
from streamlake_assets.learning.parity_checks import (
    ENGINE_SEEDS,
    REFERENCE,
    REFERENCE_SEEDS,
    Check,
    Reference,
    checks,
    failure,
)
from streamlake_assets.learning.snapshot import content_hash
from streamlake_assets.learning.spec import Algorithm, ModelSpec, default_specs
from streamlake_assets.market.frames import TrainingFrame

ANY: Final = "any"
"""Algorithm and rows of a check that an engine failed as a whole."""
COMPARED: Final = (Algorithm.LINEAR, Algorithm.FOREST, Algorithm.BLOCK_FOREST)
"""Algorithms that more than one engine has; the others need no certificate."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, on which rows, with which specs, by which libraries; and what came of it."""

    data_hash: str
    rows: int
    engines: tuple[str, ...]
    specs: tuple[ModelSpec, ...]
    seeds: tuple[int, ...]
    libraries: dict[str, dict[str, str]]
    checks: tuple[Check, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """One sentence for each comparison that failed."""
        return tuple(check.sentence() for check in self.checks if not check.passed)

    @property
    def valid(self) -> bool:
        """Whether every engine fits the same models."""
        return not self.findings

    def covers(self, spec: ModelSpec) -> bool:
        """Whether this spec's algorithm and hyper-parameters were certified on its engine.

        True also for an algorithm that no second engine has: there is nothing to compare.
        """
        if spec.algorithm not in COMPARED:
            return True
        failed = {(c.engine, c.algorithm) for c in self.checks if not c.passed}
        known = {_settings(one) for one in self.specs}
        return _settings(spec) in known and not failed & {(spec.engine, spec.algorithm.value), (spec.engine, ANY)}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready plain values."""
        plain = dataclasses.asdict(self)
        plain["specs"] = [msgspec.to_builtins(spec) for spec in self.specs]
        for check in plain["checks"]:
            if check["measured"] is not None and not math.isfinite(check["measured"]):
                check["measured"] = None
        return plain | {"valid": self.valid, "findings": list(self.findings)}


def certify(
    engines: Sequence[str],
    frame: TrainingFrame,
    resources: Resources = DEFAULT_RESOURCES,
    *,
    specs: Sequence[ModelSpec] | None = None,
    opened: Mapping[str, Engine] | None = None,
    seeds: int = ENGINE_SEEDS,
) -> Certificate:
    """Hold engines against scikit-learn, one after another; an engine that cannot be asked is a finding.

    Args:
        engines: names; scikit-learn is always asked.
        frame: real rows, or rows like them.
        resources: what engines may use.
        specs: to certify instead of the default ones, of both targets; those of other engines and of algorithms that
            only one engine has are passed over.
        opened: engines to use as they are; they are left open.
        seeds: forests that each engine grows; fewer make the tolerances wider.

    Raises:
        UsageError: nothing to compare: a frame or specs that the reference itself refuses.
    """
    names = tuple(dict.fromkeys((REFERENCE, *engines)))
    chosen = [s for s in (default_specs(names) if specs is None else specs) if s.engine in names]
    asked = tuple(s for s in chosen if s.engine != REFERENCE and s.algorithm in COMPARED)
    known = {s.algorithm: s for s in (*default_specs((REFERENCE,)), *chosen) if s.engine == REFERENCE}
    linear, forest = known[Algorithm.LINEAR], known[Algorithm.FOREST]
    reference = Reference(frame, engine(REFERENCE, resources), linear, forest, seeds)
    # only forests are compared on made rows
    made = [reference.check()] if any(s.algorithm is not Algorithm.LINEAR for s in asked) else []
    seen = set[tuple[str, str, bytes]]()
    libraries = {REFERENCE: reference.worker.library_versions()}
    for name in names[1:]:
        try:
            with ExitStack() as stack:
                worker = (opened or {}).get(name) or stack.enter_context(closing(engine(name, resources)))
                libraries[name] = worker.library_versions()
                for spec in (s for s in asked if s.engine == name):
                    # on made rows only the hyper-parameters count, not the target
                    made += checks(worker, spec, reference, on_made_rows=_settings(spec) not in seen)
                    seen.add(_settings(spec))
        except StreamlakeError as error:
            made.append(failure(name, ANY, ANY, "the engine", f"{type(error).__name__}: {error}"))
    return Certificate(
        data_hash=content_hash(frame),
        rows=len(frame),
        engines=names,
        specs=(linear, forest, *asked),
        seeds=tuple(range(REFERENCE_SEEDS)),
        libraries=libraries,
        checks=tuple(made),
    )


def _settings(spec: ModelSpec) -> tuple[str, str, bytes]:
    return spec.engine, spec.algorithm.value, msgspec.json.encode(spec.params, order="sorted")
