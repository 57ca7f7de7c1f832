"""Components for Haystack: embedders of queries and of documents, and a ranker.

    from docent.integrations.haystack import DocentDocumentEmbedder, DocentRanker, DocentTextEmbedder

    pipeline.add_component("embedder", DocentTextEmbedder("bge-small-en-v1.5"))
    pipeline.add_component("ranker", DocentRanker("bge-reranker-v2-m3", top_k=5))
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Optional

from haystack import Document, component, default_to_dict

from .. import _docent
from ..embedder import Embedder
from ..reranker import Reranker

__all__ = ["DocentDocumentEmbedder", "DocentRanker", "DocentTextEmbedder"]


@component
class DocentTextEmbedder:
    """The vector of a query, with the prompt that the model has for queries.

    Args:
        model, threads: as for :class:`docent.Embedder`.
    """

    def __init__(self, model: str = _docent.DEFAULT_MODEL, threads: Optional[int] = None) -> None:
        self.model, self.threads = model, threads
        self._embedder: Optional[Embedder] = None

    def warm_up(self) -> None:
        """Opens the model."""
        self._embedder = self._embedder or Embedder(self.model, threads=self.threads)

    def to_dict(self) -> Dict[str, Any]:
        """What a saved pipeline keeps of it."""
        return default_to_dict(self, model=self.model, threads=self.threads)

    @component.output_types(embedding=List[float])
    def run(self, text: str) -> Dict[str, Any]:
        """``embedding``: the vector of ``text``."""
        self.warm_up()
        assert self._embedder is not None
        return {"embedding": self._embedder.embed_query(text).tolist()}


@component
class DocentDocumentEmbedder:
    """The vectors of documents, with the prompt that the model has for them.

    Args:
        model, threads: as for :class:`docent.Embedder`.
    """

    def __init__(self, model: str = _docent.DEFAULT_MODEL, threads: Optional[int] = None) -> None:
        self.model, self.threads = model, threads
        self._embedder: Optional[Embedder] = None

    def warm_up(self) -> None:
        """Opens the model."""
        self._embedder = self._embedder or Embedder(self.model, threads=self.threads)

    def to_dict(self) -> Dict[str, Any]:
        """What a saved pipeline keeps of it."""
        return default_to_dict(self, model=self.model, threads=self.threads)

    @component.output_types(documents=List[Document])
    def run(self, documents: List[Document]) -> Dict[str, Any]:
        """``documents``: copies of the documents that have their vectors."""
        self.warm_up()
        assert self._embedder is not None
        vectors = self._embedder.embed_document([document.content or "" for document in documents])
        embedded = zip(documents, vectors)
        return {"documents": [replace(document, embedding=vector.tolist()) for document, vector in embedded]}


@component
class DocentRanker:
    """Orders documents by a reranker, and keeps the best.

    Args:
        model, threads: as for :class:`docent.Reranker`.
        top_k: how many documents to keep; ``None`` for all.
    """

    def __init__(
        self, model: str = _docent.DEFAULT_RERANKER, top_k: Optional[int] = 10, threads: Optional[int] = None
    ) -> None:
        self.model, self.top_k, self.threads = model, top_k, threads
        self._reranker: Optional[Reranker] = None

    def warm_up(self) -> None:
        """Opens the model."""
        self._reranker = self._reranker or Reranker(self.model, threads=self.threads)

    def to_dict(self) -> Dict[str, Any]:
        """What a saved pipeline keeps of it."""
        return default_to_dict(self, model=self.model, top_k=self.top_k, threads=self.threads)

    @component.output_types(documents=List[Document])
    def run(self, query: str, documents: List[Document], top_k: Optional[int] = None) -> Dict[str, Any]:
        """``documents``: copies of the best documents with their scores, best first."""
        self.warm_up()
        assert self._reranker is not None
        texts = [document.content or "" for document in documents]
        ranked = self._reranker.rerank(query, texts, top_n=top_k or self.top_k)
        return {"documents": [replace(documents[hit.index], score=hit.score) for hit in ranked]}
