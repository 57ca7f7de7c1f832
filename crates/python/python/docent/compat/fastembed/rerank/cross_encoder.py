"""``TextCrossEncoder``: scores of queries with documents."""

from __future__ import annotations

import itertools
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple, Union

from ...._texts import batches
from ....reranker import Reranker
from .. import _models
from .._arguments import check_batch_size, opening, worker_threads
from .._models import Model
from ..common.model_description import ModelSource
from ..common.types import Device, OnnxProvider

__all__ = ["TextCrossEncoder"]


class TextCrossEncoder:
    """fastembed's ``TextCrossEncoder``. Arguments are those of :class:`~docent.compat.fastembed.TextEmbedding`; the name of the
    model has no default."""

    _custom: List[Model] = []

    def __init__(
        self,
        model_name: str,
        cache_dir: Optional[str] = None,
        threads: Optional[int] = None,
        providers: Optional[Sequence[OnnxProvider]] = None,
        cuda: Union[bool, Device] = Device.AUTO,
        device_ids: Optional[List[int]] = None,
        lazy_load: bool = False,
        **kwargs: Any,
    ) -> None:
        model = _models.find(self._all(), model_name)
        if model is None:
            raise ValueError(
                f"Model {model_name} is not supported in TextCrossEncoder."
                "Please check the supported models using `TextCrossEncoder.list_supported_models()`"
            )
        self.model_name = model_name
        self.cache_dir = cache_dir
        self.threads = threads
        self._opening = opening(cache_dir, threads, providers, cuda, device_ids, kwargs, model.opens)
        # By the number of threads.
        self._rerankers: Dict[Optional[int], Reranker] = {}
        if not lazy_load:
            self._reranker()

    @classmethod
    def list_supported_models(cls) -> List[Dict[str, Any]]:
        """The models that can be opened, a dict each."""
        return [_models.facts(model) for model in cls._all()]

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        sources: ModelSource,
        model_file: str = "onnx/model.onnx",
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Optional[List[str]] = None,
    ) -> None:
        """Adds a model to the list, as :meth:`docent.compat.fastembed.TextEmbedding.add_custom_model` does.

        Raises:
            ValueError: the name is taken.
        """
        if _models.find(cls._all(), model) is not None:
            raise ValueError(
                f"Model {model} is already registered in TextCrossEncoder, if you still want to add this model, "
                "please use another model name"
            )
        custom = Model(
            name=model,
            opens=_models.opens(sources),
            description=description,
            license=license,
            size_in_gb=size_in_gb,
            sources=sources,
            model_file=model_file,
        )
        TextCrossEncoder._custom.append(custom)

    def rerank(self, query: str, documents: Iterable[str], batch_size: int = 64, **kwargs: Any) -> Iterator[float]:
        """The scores of the documents, one by one and in their order: raw logits, neither sorted nor scaled.

        A generator, which takes ``batch_size`` documents at a time.
        """
        check_batch_size(batch_size)
        reranker = self._reranker()
        for batch in batches(documents, batch_size):
            yield from reranker.score(query, batch, raw=True).tolist()

    def rerank_pairs(
        self, pairs: Iterable[Tuple[str, str]], batch_size: int = 64, parallel: Optional[int] = None, **kwargs: Any
    ) -> Iterator[float]:
        """The scores of pairs of a query and a document, as :meth:`rerank` gives them. ``parallel`` is the number of threads."""
        check_batch_size(batch_size)
        reranker = self._reranker(worker_threads(parallel))
        for batch in batches(pairs, batch_size):
            yield from reranker.score_pairs(batch, raw=True).tolist()

    def token_count(self, pairs: Iterable[Tuple[str, str]], batch_size: int = 1024, **kwargs: Any) -> int:
        """How many tokens the model reads of the pairs, special tokens included, in all. It reads them to know."""
        reranker = self._reranker()
        queries = itertools.groupby(pairs, key=lambda pair: pair[0])
        ranked = (reranker.rerank(query, [text for _, text in group]) for query, group in queries)
        return sum(document.tokens for documents in ranked for document in documents)

    @classmethod
    def _all(cls) -> List[Model]:
        return _models.rerankers() + TextCrossEncoder._custom

    def _reranker(self, threads: Optional[int] = None) -> Reranker:
        opened = self._rerankers.get(None)
        if threads is not None and opened is not None and threads <= opened.threads:
            return opened
        if threads not in self._rerankers:
            arguments = dict(self._opening)
            if threads is not None:
                arguments["threads"] = threads
            self._rerankers[threads] = Reranker(**arguments)
        return self._rerankers[threads]
