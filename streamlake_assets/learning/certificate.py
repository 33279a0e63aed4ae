"""The parity certificate in a process of its own, so that a JVM or workers that die take nothing else along.

Belongs here: request, result, the child's main program. Stays out: how they cross between the processes
(``child_process``), what is compared (``parity``), who asks.

``python -m streamlake_assets.learning.certificate FOLDER`` reads ``request.json`` there and writes ``result.json``.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from streamlake_assets.errors import StreamlakeError
from streamlake_assets.learning import child_process
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.spec import ModelSpec


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which engines to certify with which specs, on which snapshot, within so many seconds."""

    snapshot: str
    engines: tuple[str, ...]
    specs: tuple[ModelSpec, ...]
    resources: Resources
    timeout_s: float


def write_request(folder: Path, request: CertificateRequest) -> list[str]:
    """Write a request into an empty folder and return the command that serves it."""
    return child_process.write_request(folder, __name__, request)


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the certificate as plain data, or ``valid`` false with ``findings`` that say why there is none.

    None when the child ended before it could say anything.

    Raises:
        IntegrityError: the file is not a result.
    """
    return child_process.read_result(folder, dict[str, Any])


def serve(request: CertificateRequest) -> dict[str, Any]:
    """Certify what the request asks for.

    Raises:
        StreamlakeError: there is nothing to compare.
    """
    from streamlake_assets.learning.parity import certify
    from streamlake_assets.learning.snapshot import read_snapshot

    frame, _ = read_snapshot(Path(request.snapshot))
    return certify(request.engines, frame, request.resources, specs=request.specs).to_dict()


def _failed(error: Exception) -> dict[str, Any]:
    said = str(error) if isinstance(error, StreamlakeError) else f"{type(error).__name__}: {error}"
    return {"valid": False, "findings": [said], "checks": []}


def main(arguments: list[str]) -> int:
    """Serve the request in a folder; return the exit code: 0, or 1 when there is no certificate at all."""
    # every certificate has a check: that of the reference
    return 0 if child_process.answer(Path(arguments[0]), CertificateRequest, serve, _failed)["checks"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
