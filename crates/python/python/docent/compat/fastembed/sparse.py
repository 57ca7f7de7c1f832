"""Sparse vectors: the type, and the class that says that Docent makes none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Dict

from ._not_run import NotRun, known

__all__ = ["SparseEmbedding", "SparseTextEmbedding"]


@dataclass
class SparseEmbedding:
    """A vector of which only some components are not zero.

    Attributes:
        values: those components, an array.
        indices: their places, an array of as many integers.
    """

    values: Any
    indices: Any

    def as_object(self) -> Dict[str, Any]:
        return {"values": self.values, "indices": self.indices}

    def as_dict(self) -> Dict[int, float]:
        return dict(zip(self.indices.tolist(), self.values.tolist()))

    @classmethod
    def from_dict(cls, data: Dict[int, float]) -> SparseEmbedding:
        import numpy as np

        return cls(values=np.array(list(data.values())), indices=np.array(list(data.keys())))


class SparseTextEmbedding(NotRun):
    """Sparse text embedding models, which Docent does not run."""

    _known = known("prithivida/Splade_PP_en_v1")
    _more_facts: ClassVar[Dict[str, Any]] = {"requires_idf": None, "vocab_size": 30522}
