"""What can go wrong, by kind.

Every exception is a :class:`DocentError` and, besides, the built-in exception that a Python program expects: a model that is
not there is a :class:`FileNotFoundError`, an option out of range a :class:`ValueError`. The message is one line that says
what, where, and what to do. A call with arguments of the wrong type raises :class:`TypeError`.
"""

from __future__ import annotations

from typing import Optional

__all__ = [
    "DocentError",
    "DownloadError",
    "ModelFileError",
    "ModelKindError",
    "ModelNameError",
    "ModelNotFoundError",
    "OfflineError",
    "OptionError",
    "TextTooLongError",
    "TokenizeError",
    "TruncationWarning",
    "UnsupportedModelError",
]


class DocentError(Exception):
    """Anything that Docent raises of its own."""


class ModelNotFoundError(DocentError, FileNotFoundError):
    """No such path, no such name in the catalogue, no such repository or number format."""


class ModelNameError(DocentError, ValueError):
    """A text that cannot name a model."""


class DownloadError(DocentError, OSError):
    """The model could not be fetched or stored."""


class OfflineError(DownloadError):
    """The model is not in a cache, and the network is forbidden."""


class ModelFileError(DocentError, ValueError):
    """The model's files are damaged or not what they should be.

    Attributes:
        index: the text or document that showed it, if one did.
    """

    def __init__(self, message: str, index: Optional[int] = None) -> None:
        super().__init__(message)
        self.index = index


class UnsupportedModelError(ModelFileError):
    """The model is of an architecture that this version does not run."""


class ModelKindError(DocentError, ValueError):
    """A reranker where an embedding model is wanted, or the other way round."""


class OptionError(DocentError, ValueError):
    """An option is out of range, or not one that the model can follow."""


class TextTooLongError(DocentError, ValueError):
    """A text is too long and must not be cut, or a query leaves no room for a document.

    Attributes:
        index: its place in the call; ``None`` for a query.
        tokens: its tokens, special tokens and prompt included.
        max_length: the tokens allowed.
    """

    def __init__(
        self, message: str, index: Optional[int] = None, tokens: Optional[int] = None, max_length: Optional[int] = None
    ) -> None:
        super().__init__(message)
        self.index = index
        self.tokens = tokens
        self.max_length = max_length


class TokenizeError(DocentError, ValueError):
    """A text cannot be tokenized.

    Attributes:
        index: its place in the call.
    """

    def __init__(self, message: str, index: Optional[int] = None) -> None:
        super().__init__(message)
        self.index = index


class TruncationWarning(UserWarning):
    """Texts were longer than the model takes, and their ends were not read.

    Issued by calls whose result has no place to say so. ``embed_detailed`` and ``rerank`` say it for each text instead.
    """
