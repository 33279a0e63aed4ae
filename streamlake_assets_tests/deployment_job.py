"""A job for the test of the run launcher: it connects to nothing, and tells what of its settings it got.

Belongs here: that job. Stays out: its test (``unit/test_deployment_launcher.py``).
"""

import hashlib
import os

import dagster as dg

from streamlake_assets.settings import load_settings


@dg.op
def tell(context: dg.OpExecutionContext) -> None:
    settings = load_settings()
    context.log.info(f"settings: {settings!r}")
    for name in ("mysql_url", "mysql_reader_url", "mongo_url"):
        digest = hashlib.sha256(getattr(settings, name).get_secret_value().encode()).hexdigest()
        context.log.info(f"{name} {digest}")
    digest = hashlib.sha256(os.environ.get("DAGSTER_POSTGRES_PASSWORD", "").encode()).hexdigest()
    context.log.info(f"postgres {digest}")


@dg.job(executor_def=dg.in_process_executor)
def tell_settings() -> None:
    tell()


@dg.repository
def deployed() -> list[dg.JobDefinition]:
    return [tell_settings]
