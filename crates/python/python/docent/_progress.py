"""Progress, for those who want to see it."""

from __future__ import annotations

import sys
import time
from typing import Callable, Optional, Union

#: ``progress(done, total)``, called as a long call goes on; ``total`` is ``None`` where nobody knows it.
Callback = Callable[[int, Optional[int]], object]
Progress = Union[None, bool, Callback]

#: ``progress(file, done, total)``, called as bytes of a download arrive.
FetchCallback = Callable[[str, int, Optional[int]], object]
FetchProgress = Union[None, bool, FetchCallback]


def callback(progress: Progress, unit: str) -> Optional[Callback]:
    """The function to call: the caller's own, one that writes to stderr for ``True``, none for ``None`` or ``False``."""
    if progress is None or progress is False:
        return None
    if progress is True:
        line = _Line()
        return lambda done, total: line.show(f"{done}{_of(total)} {unit}", done == total)
    if not callable(progress):
        raise TypeError(f"progress must be a bool or callable as progress(done, total), not {type(progress).__name__}")
    return progress


def fetch_callback(progress: FetchProgress) -> Optional[FetchCallback]:
    """The same for downloads, in megabytes."""
    if progress is None or progress is False:
        return None
    if progress is True:
        line = _Line()
        size = "{:.1f}".format

        def show(file: str, done: int, total: Optional[int]) -> None:
            of = "" if total is None else f"/{size(total / 1e6)}"
            line.show(f"{file}: {size(done / 1e6)}{of} MB", done == total)

        return show
    if not callable(progress):
        raise TypeError(
            f"progress must be a bool or callable as progress(file, done, total), not {type(progress).__name__}"
        )
    return progress


def _of(total: Optional[int]) -> str:
    return "" if total is None else f"/{total}"


class _Line:
    """One line on stderr that is written over, some times a second."""

    def __init__(self) -> None:
        self.shown = 0.0

    def show(self, text: str, last: bool) -> None:
        now = time.monotonic()
        if last or now - self.shown > 0.1:
            self.shown = now
            sys.stderr.write(f"\r{text}\x1b[K" + ("\n" if last else ""))
            sys.stderr.flush()
