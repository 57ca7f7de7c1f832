"""How a custom model is described."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Optional


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Args:
        hf: a repository of the Hugging Face hub, ``USER/REPO``.
        url: the address of a GGUF file.
    """

    hf: Optional[str] = None
    url: Optional[str] = None
    _deprecated_tar_struct: bool = False

    @property
    def deprecated_tar_struct(self) -> bool:
        return self._deprecated_tar_struct

    def __post_init__(self) -> None:
        if self.hf is None and self.url is None:
            raise ValueError(f"At least one source should be set, current sources: hf={self.hf}, url={self.url}")


class PoolingType(str, Enum):
    """How the hidden states of a text become one vector."""

    CLS = "CLS"
    MEAN = "MEAN"
    LAST_TOKEN = "LAST_TOKEN"
    DISABLED = "DISABLED"
