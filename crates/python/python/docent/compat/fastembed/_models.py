"""The models that fastembed knows by name and Docent runs, and how fastembed uses them.

Its names, dimensions, pooling and scaling are facts of fastembed 0.9.1. Models that it does not scale to unit length are not
scaled here either: a collection that was filled with one library can be searched with the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from ... import _docent
from .common.model_description import ModelSource


@dataclass(frozen=True)
class Model:
    """A model by fastembed's name."""

    #: fastembed's name.
    name: str
    #: What Docent opens.
    opens: str
    dim: int = 0
    #: ``None`` for rerankers.
    pooling: Optional[str] = None
    normalize: bool = True
    description: str = ""
    license: str = ""
    size_in_gb: float = 0.0
    sources: Optional[ModelSource] = None
    model_file: str = ""


def _dense(pooling: str, normalize: bool, names: str) -> List[Model]:
    return [_of_catalogue(name, name, pooling, normalize) for name in names.split()]


def _of_catalogue(name: str, opens: str, pooling: Optional[str], normalize: bool = True) -> Model:
    entry = _docent.find_model(opens)
    assert entry is not None, name
    what = "Text embeddings" if pooling else "Reranker"
    languages = ", ".join(entry["languages"])
    return Model(
        name=name,
        opens=opens,
        dim=entry["dim"],
        pooling=pooling,
        normalize=normalize,
        description=f"{what}, {languages}, {entry['max_length']} input tokens truncation, {entry['parameters'] // 10**6} M weights",
        license=entry["license"].lower(),
        size_in_gb=round(entry["parameters"] * 1.0625 / 1e9, 3),
        sources=ModelSource(hf=entry["repository"]),
        model_file="model.safetensors",
    )


_CLS = """
BAAI/bge-base-en-v1.5 BAAI/bge-large-en-v1.5 BAAI/bge-small-en-v1.5 BAAI/bge-small-zh-v1.5 mixedbread-ai/mxbai-embed-large-v1
snowflake/snowflake-arctic-embed-xs snowflake/snowflake-arctic-embed-s snowflake/snowflake-arctic-embed-m
snowflake/snowflake-arctic-embed-m-long snowflake/snowflake-arctic-embed-l ibm-granite/granite-embedding-small-english-r2
"""
_MEAN = """
sentence-transformers/all-MiniLM-L6-v2 jinaai/jina-embeddings-v2-base-en jinaai/jina-embeddings-v2-small-en
jinaai/jina-embeddings-v2-base-de jinaai/jina-embeddings-v2-base-code jinaai/jina-embeddings-v2-base-zh
jinaai/jina-embeddings-v2-base-es thenlper/gte-base thenlper/gte-large google/embeddinggemma-300m
"""
_MEAN_UNSCALED = "nomic-ai/nomic-embed-text-v1.5 nomic-ai/nomic-embed-text-v1 intfloat/multilingual-e5-large"
_LAST = "Qwen/Qwen3-Embedding-0.6B"

_RERANKERS = {
    "Xenova/ms-marco-MiniLM-L-6-v2": "ms-marco-MiniLM-L6-v2",
    "Xenova/ms-marco-MiniLM-L-12-v2": "ms-marco-MiniLM-L12-v2",
    "BAAI/bge-reranker-base": "bge-reranker-base",
    "BAAI/bge-reranker-v2-m3": "bge-reranker-v2-m3",
    "jinaai/jina-reranker-v1-tiny-en": "jina-reranker-v1-tiny-en",
    "jinaai/jina-reranker-v1-turbo-en": "jina-reranker-v1-turbo-en",
    "jinaai/jina-reranker-v2-base-multilingual": "jina-reranker-v2-base-multilingual",
}


def dense() -> List[Model]:
    """The text embedding models."""
    return [
        *_dense("cls", True, _CLS),
        *_dense("mean", True, _MEAN),
        *_dense("mean", False, _MEAN_UNSCALED),
        *_dense("last", True, _LAST),
    ]


def rerankers() -> List[Model]:
    """The cross-encoders."""
    return [_of_catalogue(name, opens, None) for name, opens in _RERANKERS.items()]


def find(models: List[Model], name: str) -> Optional[Model]:
    """The model of this name, in any case."""
    return next((model for model in models if model.name.lower() == name.lower()), None)


def facts(model: Model) -> Dict[str, Any]:
    """A model as ``list_supported_models`` shows it; embedding models have two keys more."""
    sources = model.sources
    shown: Dict[str, Any] = {
        "model": model.name,
        "sources": {
            "hf": sources.hf if sources else None,
            "url": sources.url if sources else None,
            "_deprecated_tar_struct": sources.deprecated_tar_struct if sources else False,
        },
        "model_file": model.model_file,
        "description": model.description,
        "license": model.license,
        "size_in_GB": model.size_in_gb,
        "additional_files": [],
    }
    if model.pooling is not None:
        shown.update(dim=model.dim, tasks={})
    return shown


def opens(sources: ModelSource) -> str:
    """What Docent opens for a custom model."""
    if sources.url is not None:
        return sources.url
    entry = _docent.find_model(str(sources.hf))
    return str(entry["name"]) if entry is not None else f"hf:{sources.hf}"
