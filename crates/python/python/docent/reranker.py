"""A query and documents in, scores out."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _docent
from ._progress import FetchProgress, Progress, callback, fetch_callback
from ._texts import as_tuple, warn_of_truncation
from .embedder import check_device, in_thread, model_name
from .errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Scores = NDArray[np.float32]

__all__ = ["RankedDocument", "Reranker"]


class RankedDocument(NamedTuple):
    """A document with its score."""

    #: Its place in the call.
    index: int  # type: ignore[assignment]  # the field of that name, not the method of tuples
    #: How relevant it is: larger is better. What kind of number it is says ``kind``.
    score: float
    #: The model's own number: a logit of relevance.
    raw: float
    #: ``"sigmoid"`` (0 to 1, meant to order), ``"probability"`` (that the model answers yes) or ``"logit"`` (any number).
    kind: str
    #: Tokens that the model read: query, document, special tokens and prompt.
    tokens: int
    #: Tokens of query and document that were cut off; 0 if the model read all.
    dropped: int

    @property
    def truncated(self) -> bool:
        """Whether the model did not read the whole of it."""
        return self.dropped > 0


class Reranker:
    """A model that reads a query together with each document and says how well they go together.

    An embedding model sees query and document apart; a reranker sees both at once, which is better and slower: let it order
    the few dozen that a search has found. A score depends on query, document, options and the model alone.

    Args:
        model: as for :class:`docent.Embedder`.
        threads, device, quant, offline, progress: as for :class:`docent.Embedder`.
        instruction: what relevance means here, for models that read an instruction (Qwen3-Reranker).
        max_length: tokens that query and document may have together, special tokens and prompt included.
        long_documents: ``"truncate"`` cuts the end of a document that is too long; ``"windows"`` reads it in windows that overlap
            by an eighth and takes the score of the best.

    Raises:
        ModelKindError: (a ``ValueError``) a model that scores no pairs; otherwise as :class:`docent.Embedder`.

    >>> reranker = Reranker("bge-reranker-v2-m3")                                          # doctest: +SKIP
    >>> reranker.rerank("what do pandas eat?", ["Paris is in France.", "Pandas eat bamboo."])[0].index  # doctest: +SKIP
    1
    """

    def __init__(
        self,
        model: Union[str, os.PathLike[str]] = _docent.DEFAULT_RERANKER,
        *,
        threads: Optional[int] = None,
        device: Optional[str] = None,
        quant: Optional[str] = None,
        offline: bool = False,
        instruction: Optional[str] = None,
        max_length: Optional[int] = None,
        long_documents: str = "truncate",
        progress: FetchProgress = None,
    ) -> None:
        check_device(device)
        self._open: Dict[str, Any] = {"model": model_name(model), "threads": threads, "quant": quant, "offline": offline}
        self._defaults: Dict[str, Any] = {
            "instruction": instruction,
            "max_length": max_length,
            "long_documents": long_documents,
        }
        arguments = {name: value for name, value in self._open.items() if name != "model"}
        self._model = _docent.RerankingModel(self._open["model"], progress=fetch_callback(progress), **arguments)
        self._settings = self._model.settings()
        # Defaults that the model cannot follow are better told now than at the first call.
        self._model.score("", (), {**self._defaults, "raw": False})

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: Optional[int] = None,
        raw: bool = False,
        instruction: Optional[str] = None,
        max_length: Optional[int] = None,
        long_documents: Optional[str] = None,
        progress: Progress = None,
    ) -> List[RankedDocument]:
        """The documents with their scores, best first; of equal scores the earlier document comes first.

        Args:
            query: what is searched for.
            documents: any iterable of ``str`` that ends.
            top_n: how many of the best to return; all by default.
            raw: whether ``score`` is the model's own number, a logit, instead of one from 0 to 1.
            instruction, max_length, long_documents: as in the constructor, for this call.
            progress: ``True`` to show it on stderr, or a function called as ``progress(done, total)`` in documents.

        Raises:
            TypeError: for anything that is not text.
            OptionError: (a ``ValueError``) an option out of range, or an instruction for a model that reads none.
            TextTooLongError: (a ``ValueError``) the query leaves no room for a document.
        """
        if top_n is not None and top_n < 1:
            raise OptionError(f"top_n must be at least 1, got {top_n}")
        options = self._options(raw, instruction, max_length, long_documents)
        ranked = self._score(query, documents, options, progress)
        ranked.sort(key=lambda document: (-document.raw, document.index))
        return ranked[:top_n]

    def score(self, query: str, documents: Iterable[str], *, raw: bool = False, **options: Any) -> Scores:
        """The scores of the documents, in their order: ``float32`` of shape ``(documents,)``. Options are those of
        :meth:`rerank`; issues a ``TruncationWarning`` where a document was cut."""
        progress = options.pop("progress", None)
        settings = self._options(raw, **options)
        check_query(query)
        scores, _, _, dropped, _ = self._model.score(query, _documents(documents), settings, callback(progress, "documents"))
        warn_of_truncation(dropped, self._limit(settings), stacklevel=3, what="documents")
        return scores

    def score_pairs(self, pairs: Iterable[Tuple[str, str]], *, raw: bool = False, **options: Any) -> Scores:
        """The scores of pairs of a query and a document, in their order: ``float32`` of shape ``(pairs,)``.

        Neighbours with the same query are scored together.
        """
        import numpy as np

        settings = self._options(raw, **options)
        found = [self._model.score(query, documents, settings) for query, documents in _by_query(pairs)]
        dropped = np.concatenate([np.empty(0, np.int64), *(group[3] for group in found)])
        warn_of_truncation(dropped, self._limit(settings), stacklevel=3, what="documents")
        return np.concatenate([np.empty(0, np.float32), *(group[0] for group in found)])

    async def arerank(self, query: str, documents: Iterable[str], **options: Any) -> List[RankedDocument]:
        """:meth:`rerank`, without blocking the event loop."""
        return await in_thread(self.rerank, query, documents, **options)  # type: ignore[no-any-return]

    async def ascore(self, query: str, documents: Iterable[str], **options: Any) -> Scores:
        """:meth:`score`, without blocking the event loop."""
        return await in_thread(self.score, query, documents, **options)  # type: ignore[no-any-return]

    @property
    def model(self) -> str:
        """The model as it was asked for."""
        return str(self._open["model"])

    @property
    def name(self) -> str:
        """The name that the model's files give it."""
        return str(self._settings["name"])

    @property
    def path(self) -> str:
        """The file or directory that the model was opened from."""
        return str(self._settings["path"])

    @property
    def max_length(self) -> int:
        """Tokens that query and document have together at most, by calls that do not say otherwise."""
        return self._limit(self._defaults)

    @property
    def threads(self) -> int:
        """Threads that the model computes on."""
        return int(self._settings["threads"])

    @property
    def settings(self) -> Dict[str, Any]:
        """What the model is and how it is used: ``architecture``, ``score_kind``, ``instruction``, ``positions``, ..."""
        return dict(self._settings)

    def __repr__(self) -> str:
        return f"Reranker({self.model!r}, max_length={self.max_length}, threads={self.threads})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return (_reranker, ({**self._open, **self._defaults},))

    def _score(self, query: str, documents: Iterable[str], options: Dict[str, Any], progress: Progress) -> List[RankedDocument]:
        check_query(query)
        found = self._model.score(query, _documents(documents), options, callback(progress, "documents"))
        scores, raws, tokens, dropped, kind = found
        rows = zip(scores.tolist(), raws.tolist(), tokens.tolist(), dropped.tolist())
        return [RankedDocument(index, score, raw, kind, read, cut) for index, (score, raw, read, cut) in enumerate(rows)]

    def _options(
        self,
        raw: bool,
        instruction: Optional[str] = None,
        max_length: Optional[int] = None,
        long_documents: Optional[str] = None,
    ) -> Dict[str, Any]:
        """The options of a call: its own, then those that the reranker was made with."""
        options = {**self._defaults, "raw": raw}
        for name, value in (
            ("instruction", instruction),
            ("max_length", max_length),
            ("long_documents", long_documents),
        ):
            if value is not None:
                options[name] = value
        return options

    def _limit(self, options: Dict[str, Any]) -> int:
        return int(options["max_length"] or self._settings["max_length"])


def check_query(query: Any) -> None:
    if not isinstance(query, str):
        raise TypeError(f"query must be a str, not {type(query).__name__}")


def check_pair(index: int, pair: Any) -> Tuple[str, str]:
    """A pair of texts, or what tells most about what it is instead."""
    is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
    if not is_pair:
        raise TypeError(f"pairs[{index}] must be a tuple or list of two str, a query and a document, not {pair!r:.60}")
    return (pair[0], pair[1])


def _by_query(pairs: Iterable[Tuple[str, str]]) -> Iterator[Tuple[str, Tuple[str, ...]]]:
    """Neighbours with the same query, together."""
    checked = map(check_pair, itertools.count(), pairs)
    for query, group in itertools.groupby(checked, key=lambda pair: pair[0]):
        yield query, tuple(document for _, document in group)


def _documents(documents: Iterable[str]) -> Tuple[str, ...]:
    if isinstance(documents, str):
        raise TypeError("documents must be an iterable of str, not one str: put it in a list")
    return as_tuple(documents, "documents")


def _reranker(arguments: Dict[str, Any]) -> Reranker:
    """What a pickled reranker becomes."""
    return Reranker(**arguments)
