"""The parity certificate in a process of its own, so that a JVM or workers that die take nothing else along.

Belongs here: request and result as files in one folder, and the child's main program. Stays out: what is compared
(``parity``), who asks.

``python -m streamlake_assets.learning.certificate FOLDER`` reads ``request.json`` there and writes ``result.json``.
"""

import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

from streamlake_assets.errors import IntegrityError, StreamlakeError
from streamlake_assets.learning.child import REQUEST, RESULT, bounded, end_with_parent
from streamlake_assets.learning.engines import Resources
from streamlake_assets.learning.spec import ModelSpec
from streamlake_assets.market.frames import TrainingFrame


class CertificateRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which engines to certify with which specs, on which snapshot, within so many seconds."""

    snapshot: str
    engines: tuple[str, ...]
    specs: tuple[ModelSpec, ...]
    resources: Resources
    timeout_s: float


def write_request(folder: Path, request: CertificateRequest) -> list[str]:
    """Write a request into an empty folder and return the command that serves it."""
    (folder / REQUEST).write_bytes(msgspec.json.encode(request))
    return [sys.executable, "-m", __name__, str(folder)]


def read_result(folder: Path) -> dict[str, Any] | None:
    """Return the certificate as plain data, or ``valid`` false with ``findings`` that say why there is none.

    None when the child ended before it could say anything.

    Raises:
        IntegrityError: the file is not a result.
    """
    try:
        return msgspec.json.decode((folder / RESULT).read_bytes(), type=dict[str, Any])
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise IntegrityError(f"{folder / RESULT}: {error}") from error


def serve(folder: Path) -> dict[str, Any]:
    """Certify what the request asks for.

    Raises:
        StreamlakeError: there is nothing to compare.
    """
    from streamlake_assets.learning.parity import certify
    from streamlake_assets.learning.snapshot import read_snapshot

    request = msgspec.json.decode((folder / REQUEST).read_bytes(), type=CertificateRequest)
    frame: TrainingFrame
    frame, _ = read_snapshot(Path(request.snapshot))
    return certify(request.engines, frame, request.resources, specs=request.specs).to_dict()


def main(arguments: list[str]) -> int:
    """Serve the request in a folder; return the exit code: 0, or 1 when there is no certificate at all."""
    folder = Path(arguments[0])
    end_with_parent()
    timeout_s = msgspec.json.decode((folder / REQUEST).read_bytes(), type=CertificateRequest).timeout_s
    code = 0
    with bounded(timeout_s):
        try:
            result = serve(folder)
        except StreamlakeError as error:
            code, result = 1, {"valid": False, "findings": [str(error)], "checks": []}
        except Exception as error:
            # no library means to raise it: the parent gets one line, its log the traceback
            traceback.print_exc()
            code, result = 1, {"valid": False, "findings": [f"{type(error).__name__}: {error}"], "checks": []}
    partial = folder / f"{RESULT}.partial"
    partial.write_bytes(msgspec.json.encode(result))
    partial.rename(folder / RESULT)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
