"""``python -m docent``: the command line tool."""

from __future__ import annotations

import signal
import sys

from . import _docent


def main() -> int:
    """Runs the command line of this process and returns its exit status."""
    # Python would only take note of Ctrl-C, and act on it when the command is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _docent.run_command(["docent", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
