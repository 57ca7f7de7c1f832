"""Embeddings and a document compressor for LangChain.

    from docent.integrations.langchain import DocentEmbeddings, DocentReranker

    store = InMemoryVectorStore(DocentEmbeddings("bge-small-en-v1.5"))
    compressor = DocentReranker(model="bge-reranker-v2-m3", top_n=5)
"""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from pydantic import PrivateAttr

from .. import _docent
from ..embedder import Embedder
from ..reranker import Reranker

__all__ = ["DocentEmbeddings", "DocentReranker"]


class DocentEmbeddings(Embeddings):
    """Vectors by a model that Docent runs; documents and queries each with the prompt that the model has for them.

    Args:
        model: what :class:`docent.Embedder` opens, or an embedder.
        options: further arguments of :class:`docent.Embedder`.
    """

    def __init__(self, model: Any = _docent.DEFAULT_MODEL, **options: Any) -> None:
        self.embedder = model if isinstance(model, Embedder) else Embedder(model, **options)

    def embed_documents(self, texts: List[str]) -> List[List[float]]:
        return self.embedder.embed_document(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> List[float]:
        return self.embedder.embed_query(text).tolist()  # type: ignore[no-any-return]

    async def aembed_documents(self, texts: List[str]) -> List[List[float]]:
        return (await self.embedder.aembed_document(texts)).tolist()  # type: ignore[no-any-return]

    async def aembed_query(self, text: str) -> List[float]:
        return (await self.embedder.aembed_query(text)).tolist()  # type: ignore[no-any-return]


class DocentReranker(BaseDocumentCompressor):
    """Orders documents by a reranker that Docent runs, and keeps the best.

    The score of a document is in its metadata, as ``relevance_score``.
    """

    #: What :class:`docent.Reranker` opens.
    model: str = _docent.DEFAULT_RERANKER
    #: How many documents to keep; ``None`` for all.
    top_n: Optional[int] = 3
    #: Threads to compute on.
    threads: Optional[int] = None

    _reranker: Reranker = PrivateAttr()

    def model_post_init(self, context: Any) -> None:
        self._reranker = Reranker(self.model, threads=self.threads)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Optional[Callbacks] = None
    ) -> Sequence[Document]:
        ranked = self._reranker.rerank(query, [document.page_content for document in documents], top_n=self.top_n)
        return [
            documents[hit.index].model_copy(
                update={"metadata": {**documents[hit.index].metadata, "relevance_score": hit.score}}
            )
            for hit in ranked
        ]
