# The compiled part of the package; see src/ of the crate docent-python.

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

__version__: str
DEFAULT_MODEL: str
DEFAULT_RERANKER: str

class EmbeddingModel:
    def __new__(
        cls,
        model: str,
        *,
        threads: Optional[int] = None,
        quant: Optional[str] = None,
        offline: bool = False,
        progress: Optional[Callable[[str, int, Optional[int]], object]] = None,
    ) -> EmbeddingModel: ...
    def embed(
        self,
        texts: Tuple[str, ...],
        options: Mapping[str, Any],
        progress: Optional[Callable[[int, Optional[int]], object]] = None,
    ) -> Tuple[Any, NDArray[np.int64], NDArray[np.int64]]: ...
    def tokenize(self, text: str, *, special: bool = True) -> List[int]: ...
    def decode(self, ids: List[int]) -> str: ...
    def count_tokens(self, texts: Tuple[str, ...], *, max_length: Optional[int] = None) -> NDArray[np.int64]: ...
    def settings(self) -> Dict[str, Any]: ...

class RerankingModel:
    def __new__(
        cls,
        model: str,
        *,
        threads: Optional[int] = None,
        quant: Optional[str] = None,
        offline: bool = False,
        progress: Optional[Callable[[str, int, Optional[int]], object]] = None,
    ) -> RerankingModel: ...
    def score(
        self,
        query: str,
        documents: Tuple[str, ...],
        options: Mapping[str, Any],
        progress: Optional[Callable[[int, Optional[int]], object]] = None,
    ) -> Tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], str]: ...
    def settings(self) -> Dict[str, Any]: ...

def run_command(args: Sequence[str]) -> int: ...
def models() -> List[Dict[str, Any]]: ...
def find_model(name: str) -> Optional[Dict[str, Any]]: ...
def default_threads() -> int: ...
