"""Health check of a container of streamlake's image, which has no curl: exit 0 when the address answers 200.

Belongs here: one request. Stays out: what healthy means (the process that answers).
"""

import sys
import urllib.request

TIMEOUT_S = 4


def main() -> int:
    """Ask the address of the command line; return the exit code."""
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=TIMEOUT_S) as answer:  # noqa: S310 - a literal of the compose file
            return 0 if answer.status == 200 else 1
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
