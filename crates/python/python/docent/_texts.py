"""Texts as callers give them, and the warning about those that were cut."""

from __future__ import annotations

import itertools
import warnings
from typing import Any, Iterable, Iterator, Tuple, TypeVar, Union

from .errors import OptionError, TruncationWarning

Texts = Union[str, Iterable[str]]
Item = TypeVar("Item")


def as_tuple(texts: Iterable[str], what: str = "texts") -> Tuple[str, ...]:
    """The texts of an iterable, once. That its items are ``str`` is checked by the compiled part."""
    check_iterable(texts, what)
    return tuple(texts)


def check_iterable(texts: Any, what: str = "texts") -> None:
    """Raises what tells a caller most about an argument that cannot hold texts."""
    if isinstance(texts, (bytes, bytearray, memoryview)):
        raise TypeError(f'{what} must be a str or an iterable of str, not {_name(texts)}: decode it first, as in text.decode("utf-8")')
    if isinstance(texts, dict):
        raise TypeError(f"{what} must be a str or an iterable of str, not dict: pass its values()")
    if not hasattr(texts, "__iter__"):
        raise TypeError(f"{what} must be a str or an iterable of str, not {_name(texts)}")


def batches(items: Iterable[Item], size: int) -> Iterator[Tuple[Item, ...]]:
    """The items in batches of ``size``, each taken from the iterable when it is asked for."""
    source = iter(items)
    while True:
        batch = tuple(itertools.islice(source, size))
        if not batch:
            return
        yield batch


def check_batch_size(size: int) -> None:
    if size < 1:
        raise OptionError(f"batch_size must be at least 1, got {size}")


def warn_of_truncation(dropped: Any, max_length: int, stacklevel: int, what: str = "texts") -> None:
    """Warns if any text was cut, at the line of the caller that many frames up. ``dropped`` has the tokens cut off of each."""
    truncated = int((dropped > 0).sum())
    if truncated:
        warnings.warn(
            f"{truncated} of {len(dropped)} {what} truncated to {max_length} tokens",
            TruncationWarning,
            stacklevel=stacklevel,
        )


def _name(value: object) -> str:
    return type(value).__name__
