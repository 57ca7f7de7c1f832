"""fastembed's interface: ``from docent.compat.fastembed import TextEmbedding`` in place of ``from fastembed import TextEmbedding``.

Signatures, laziness, order and messages are those of fastembed 0.9. What differs, by intention:

* Models are GGUF or safetensors files of the Hugging Face cache, not ONNX files: ``cache_dir`` is ignored with a warning
  (``HF_HOME`` says where the cache is), as are ``providers``, ``cuda`` and ``device_ids``. ``quant=`` chooses the number format:
  ``Q8_0`` by default, ``"original"`` for the weights as published.
* ``parallel`` asks for threads of this process, not for processes.
* A text that is cut is told of in a ``docent.TruncationWarning``.
* Sparse, late-interaction and image models are listed, because qdrant-client asks for their names, and raise
  ``NotImplementedError`` when they are opened.

:func:`install` makes all of it importable as ``fastembed``, for libraries that import that themselves.
"""

from __future__ import annotations

import importlib
import sys

from .late_interaction import LateInteractionMultimodalEmbedding, LateInteractionTextEmbedding
from .image import ImageEmbedding
from .sparse import SparseEmbedding, SparseTextEmbedding
from .text import TextEmbedding

__all__ = [
    "ImageEmbedding",
    "LateInteractionMultimodalEmbedding",
    "LateInteractionTextEmbedding",
    "SparseEmbedding",
    "SparseTextEmbedding",
    "TextEmbedding",
    "install",
]

#: The modules that have the names of fastembed's own.
_MODULES = (
    "common",
    "common.model_description",
    "common.types",
    "image",
    "late_interaction",
    "rerank",
    "rerank.cross_encoder",
    "sparse",
    "text",
)


def install() -> None:
    """Makes ``import fastembed``, in this process, give this package.

    To be called before anything imports fastembed, such as ``qdrant_client``. Calling it again does nothing.

    Raises:
        RuntimeError: the real fastembed is imported already.
    """
    present = sys.modules.get("fastembed")
    if present is sys.modules[__name__]:
        return
    if present is not None:
        raise RuntimeError("fastembed is imported already: call docent.compat.fastembed.install() before that")
    sys.modules["fastembed"] = sys.modules[__name__]
    for name in _MODULES:
        sys.modules[f"fastembed.{name}"] = importlib.import_module(f"{__name__}.{name}")
