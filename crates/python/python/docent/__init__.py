"""Embedding models and rerankers from GGUF and safetensors files, on an ordinary CPU.

    import docent

    embedder = docent.Embedder("all-MiniLM-L6-v2")
    vectors = embedder.embed(["Where are the settings kept?", "In the file settings.toml."])   # (2, 384) float32

    reranker = docent.Reranker("bge-reranker-v2-m3")
    for hit in reranker.rerank("what do pandas eat?", ["Paris is in France.", "Pandas eat bamboo."]):
        print(hit.index, hit.score)

``docent.compat`` has the interfaces of fastembed, llama-cpp-python and sentence-transformers, ``docent.integrations`` adapters
for vector stores and frameworks. ``python -m docent`` is the command line tool. Nothing is sent anywhere; there is no telemetry.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from . import _docent
from ._docent import __version__, default_threads
from .embedder import Embedder, EmbedResult
from .errors import (
    DocentError,
    DownloadError,
    ModelFileError,
    ModelKindError,
    ModelNameError,
    ModelNotFoundError,
    OfflineError,
    OptionError,
    TextTooLongError,
    TokenizeError,
    TruncationWarning,
    UnsupportedModelError,
)
from .reranker import RankedDocument, Reranker

__all__ = [
    "DocentError",
    "DownloadError",
    "EmbedResult",
    "Embedder",
    "ModelFileError",
    "ModelKindError",
    "ModelNameError",
    "ModelNotFoundError",
    "OfflineError",
    "OptionError",
    "RankedDocument",
    "Reranker",
    "TextTooLongError",
    "TokenizeError",
    "TruncationWarning",
    "UnsupportedModelError",
    "__version__",
    "default_threads",
    "find_model",
    "models",
]


def models(kind: Optional[str] = None) -> List[Dict[str, Any]]:
    """The catalogue of well-known models: for each a dict with ``name``, ``kind``, ``repository``, ``dim``, ``max_length``, ...

    Args:
        kind: ``"embedding"``, ``"reranker"`` or ``"expander"`` for those alone.
    """
    return [model for model in _docent.models() if kind in (None, model["kind"])]


def find_model(name: str) -> Optional[Dict[str, Any]]:
    """The catalogue's entry of that name, alias or repository, in any case; ``None`` if there is none."""
    return _docent.find_model(name)
