"""The champions a long-running process forecasts with: taken up as they are named, without a restart.

Belongs here: looking at the register now and then, opening what it names, keeping the last good model when that cannot
be opened. Stays out: who is named champion (``flows.training``, ``market``), forecasting.
"""

import time
from collections.abc import Callable, Mapping

import structlog

from streamlake_assets.errors import ModelRefusedError, StreamlakeError, TryLaterError
from streamlake_assets.learning.serve import ServingModel
from streamlake_assets.market.features import REGISTRY
from streamlake_assets.market.targets import Target

EVERY_S = 2.0
"""Time between two looks at the register."""
RETRY_S = 30.0
"""Time until a refused version is tried again: its folder may have been published anew."""


class ServingChampions:
    """One loaded model for each target that has a champion.

    Args:
        named: asks the register which version speaks for each target.
        opened: verifies and loads a version.
        successor: loads what may speak when the champion is refused and nothing was loaded before.
        every_s: time between two looks.
        retry_s: time until a refused version is tried again.
        monotonic: the clock.
    """

    def __init__(
        self,
        named: Callable[[], Mapping[Target, str]],
        opened: Callable[[str], ServingModel],
        successor: Callable[[Target], ServingModel],
        *,
        every_s: float = EVERY_S,
        retry_s: float = RETRY_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._named = named
        self._opened = opened
        self._successor = successor
        self._every_s = every_s
        self._retry_s = retry_s
        self._monotonic = monotonic
        self._look_at = 0.0
        self._models: dict[Target, ServingModel] = {}
        self._tried: dict[str, float] = {}
        self.refused: dict[Target, str] = {}
        """Why the named champion of a target does not speak."""
        self._log = structlog.get_logger(component="champions")

    @property
    def models(self) -> list[ServingModel]:
        """The models that speak, at most one for each target."""
        return [self._models[target] for target in Target if target in self._models]

    @property
    def versions(self) -> dict[str, str]:
        """Version that speaks for each target."""
        return {model.target.value: model.version for model in self.models}

    def look(self) -> bool:
        """Ask the register if it is time; return whether another model speaks from now on.

        Raises:
            TryLaterError: the register is not available.
        """
        now = self._monotonic()
        if now < self._look_at:
            return False
        named = self._named()
        self._look_at = now + self._every_s
        changed = [target for target, version in named.items() if self._take(target, version)]
        return bool(changed)

    def _take(self, target: Target, version: str) -> bool:
        speaks = self._models.get(target)
        if speaks is not None and speaks.version == version:
            self.refused.pop(target, None)
            return False
        if self._monotonic() < self._tried.get(version, 0.0):
            return False
        try:
            model = _checked(self._opened(version), target)
        except TryLaterError:
            raise
        except StreamlakeError as error:
            return self._refuse(target, version, str(error))
        self.refused.pop(target, None)
        self._tried.pop(version, None)
        self._models[target] = model
        self._log.info("champion", target=target.value, version=version)
        return True

    def _refuse(self, target: Target, version: str, why: str) -> bool:
        self._tried[version] = self._monotonic() + self._retry_s
        self.refused[target] = why
        speaks = self._models.get(target)
        if speaks is None:
            try:
                self._models[target] = _checked(self._successor(target), target)
            except TryLaterError:
                raise
            except StreamlakeError as error:
                self.refused[target] = str(error)
            speaks = self._models.get(target)
            self._log.error("champion_refused", target=target.value, error=why, speaks=speaks and speaks.version)
            return speaks is not None
        self._log.error("champion_refused", target=target.value, error=why, speaks=speaks.version)
        return False


def _checked(model: ServingModel, target: Target) -> ServingModel:
    unknown = sorted(set(model.features) - REGISTRY.keys())
    if unknown or model.target is not target:
        raise ModelRefusedError(f"model {model.version} is of {model.target}, with unknown features {unknown}")
    return model
