"""An embedding function for Chroma.

    import chromadb
    from docent.integrations.chromadb import DocentEmbeddingFunction

    client = chromadb.PersistentClient("store")
    notes = client.get_or_create_collection("notes", embedding_function=DocentEmbeddingFunction("bge-small-en-v1.5"))

Chroma keeps its name and configuration with the collection. A program that imports this module may open the collection again
without saying which embedding function it has.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, List, Optional

from chromadb.api.types import Documents, EmbeddingFunction, Embeddings, Space
from chromadb.utils.embedding_functions import register_embedding_function

from .. import _docent
from ..embedder import Embedder

__all__ = ["DocentEmbeddingFunction"]


@functools.lru_cache(maxsize=4)
def _embedder(
    model: str, quant: Optional[str], dim: Optional[int], max_length: Optional[int], threads: Optional[int], offline: bool
) -> Embedder:
    """The model, kept open: Chroma makes the function of a reopened collection anew for every call."""
    return Embedder(model, quant=quant, dim=dim, max_length=max_length, threads=threads, offline=offline)


@register_embedding_function
class DocentEmbeddingFunction(EmbeddingFunction[Documents]):
    """Vectors by a model that Docent runs; documents and queries each with the prompt that the model has for them.

    Args:
        model_name: what :class:`docent.Embedder` opens.
        quant, dim, max_length: as for :class:`docent.Embedder`; kept with the collection, as is the name of the model.
        threads, offline: as for :class:`docent.Embedder`; about this machine, and not kept.
    """

    def __init__(
        self,
        model_name: str = _docent.DEFAULT_MODEL,
        *,
        quant: Optional[str] = None,
        dim: Optional[int] = None,
        max_length: Optional[int] = None,
        threads: Optional[int] = None,
        offline: bool = False,
    ) -> None:
        self._config: Dict[str, Any] = {"model_name": model_name, "quant": quant, "dim": dim, "max_length": max_length}
        self._embedder = _embedder(model_name, quant, dim, max_length, threads, offline)

    def __call__(self, input: Documents) -> Embeddings:
        return list(self._embedder.embed_document(input))

    def embed_query(self, input: Documents) -> Embeddings:
        return list(self._embedder.embed_query(input))

    @staticmethod
    def name() -> str:
        return "docent"

    def default_space(self) -> Space:
        return "cosine"

    def supported_spaces(self) -> List[Space]:
        return ["cosine", "l2", "ip"]

    def get_config(self) -> Dict[str, Any]:
        return dict(self._config)

    @staticmethod
    def build_from_config(config: Dict[str, Any]) -> DocentEmbeddingFunction:
        DocentEmbeddingFunction.validate_config(config)
        arguments = dict(config)
        return DocentEmbeddingFunction(arguments.pop("model_name"), **arguments)

    def validate_config_update(self, old_config: Dict[str, Any], new_config: Dict[str, Any]) -> None:
        for key in ("model_name", "dim"):
            if key in new_config and new_config[key] != old_config.get(key):
                raise ValueError(f"{key} cannot be changed once a collection has vectors: {old_config.get(key)!r}")

    @staticmethod
    def validate_config(config: Dict[str, Any]) -> None:
        unknown = set(config) - {"model_name", "quant", "dim", "max_length"}
        if unknown or not isinstance(config.get("model_name"), str):
            raise ValueError(f"expected model_name and at most quant, dim and max_length, found {sorted(config)}")

    @property
    def embedder(self) -> Embedder:
        """The model."""
        return self._embedder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DocentEmbeddingFunction) and other._config == self._config

    __hash__ = None  # type: ignore[assignment]
