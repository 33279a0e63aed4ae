"""The packages whose versions stand beside the figures of the consumer; what a machine is, is read in ``flows``."""

from typing import Any

from streamlake_assets.flows import machine

_PACKAGES = ("confluent-kafka", "msgspec", "sqlalchemy", "pymysql", "pymongo", "numpy", "scikit-learn")


def facts() -> dict[str, Any]:
    """Return processor, cores, memory, system and package versions."""
    return machine.facts(_PACKAGES)
