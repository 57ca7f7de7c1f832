"""An embedding model and a node postprocessor for LlamaIndex.

    from docent.integrations.llama_index import DocentEmbedding, DocentRerank

    Settings.embed_model = DocentEmbedding(model_name="bge-small-en-v1.5")
    engine = index.as_query_engine(node_postprocessors=[DocentRerank(model="bge-reranker-v2-m3", top_n=5)])
"""

from __future__ import annotations

from typing import Any, List, Optional

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from .. import _docent
from ..embedder import Embedder
from ..reranker import Reranker

__all__ = ["DocentEmbedding", "DocentRerank"]


class DocentEmbedding(BaseEmbedding):
    """Vectors by a model that Docent runs; texts and queries each with the prompt that the model has for them."""

    model_name: str = Field(default=_docent.DEFAULT_MODEL, description="What docent.Embedder opens.")
    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts of a call.")
    threads: Optional[int] = Field(default=None, description="Threads to compute on.")
    dim: Optional[int] = Field(default=None, description="Components to keep.")

    _embedder: Embedder = PrivateAttr()

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)
        self._embedder = Embedder(self.model_name, threads=self.threads, dim=self.dim)

    @classmethod
    def class_name(cls) -> str:
        return "DocentEmbedding"

    def _get_query_embedding(self, query: str) -> List[float]:
        return self._embedder.embed_query(query).tolist()  # type: ignore[no-any-return]

    async def _aget_query_embedding(self, query: str) -> List[float]:
        return (await self._embedder.aembed_query(query)).tolist()  # type: ignore[no-any-return]

    def _get_text_embedding(self, text: str) -> List[float]:
        return self._embedder.embed_document(text).tolist()  # type: ignore[no-any-return]

    async def _aget_text_embedding(self, text: str) -> List[float]:
        return (await self._embedder.aembed_document(text)).tolist()  # type: ignore[no-any-return]

    def _get_text_embeddings(self, texts: List[str]) -> List[List[float]]:
        return self._embedder.embed_document(texts).tolist()  # type: ignore[no-any-return]

    async def _aget_text_embeddings(self, texts: List[str]) -> List[List[float]]:
        return (await self._embedder.aembed_document(texts)).tolist()  # type: ignore[no-any-return]


class DocentRerank(BaseNodePostprocessor):
    """Orders nodes by a reranker that Docent runs, and keeps the best."""

    model: str = Field(default=_docent.DEFAULT_RERANKER, description="What docent.Reranker opens.")
    top_n: int = Field(default=3, gt=0, description="Nodes to keep.")
    threads: Optional[int] = Field(default=None, description="Threads to compute on.")

    _reranker: Reranker = PrivateAttr()

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)
        self._reranker = Reranker(self.model, threads=self.threads)

    @classmethod
    def class_name(cls) -> str:
        return "DocentRerank"

    def _postprocess_nodes(
        self, nodes: List[NodeWithScore], query_bundle: Optional[QueryBundle] = None
    ) -> List[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("DocentRerank needs the query: expected query_bundle")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        ranked = self._reranker.rerank(query_bundle.query_str, texts, top_n=self.top_n)
        return [NodeWithScore(node=nodes[hit.index].node, score=hit.score) for hit in ranked]
