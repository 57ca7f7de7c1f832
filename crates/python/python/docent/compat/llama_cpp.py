"""llama-cpp-python's interface to embeddings: ``from docent.compat.llama_cpp import Llama``.

``Llama`` has ``embed``, ``create_embedding``, ``tokenize`` and ``detokenize``, with the arguments and results of llama-cpp-python 0.3;
what generates text raises ``NotImplementedError``. What differs, by intention:

* A text that is too long keeps its closing special token when it is cut, and a ``docent.TruncationWarning`` says that it was.
* Several inputs give the same vectors as one at a time, and no context has to be sized for them.
* Models of a kind that llama.cpp does not know, and Hugging Face directories, open as well.
"""

from __future__ import annotations

import os
import warnings
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from .. import _docent
from .._texts import as_tuple, warn_of_truncation
from ..embedder import Embedder

__all__ = [
    "LLAMA_POOLING_TYPE_CLS",
    "LLAMA_POOLING_TYPE_LAST",
    "LLAMA_POOLING_TYPE_MEAN",
    "LLAMA_POOLING_TYPE_NONE",
    "LLAMA_POOLING_TYPE_RANK",
    "LLAMA_POOLING_TYPE_UNSPECIFIED",
    "Llama",
]

LLAMA_POOLING_TYPE_UNSPECIFIED = -1
LLAMA_POOLING_TYPE_NONE = 0
LLAMA_POOLING_TYPE_MEAN = 1
LLAMA_POOLING_TYPE_CLS = 2
LLAMA_POOLING_TYPE_LAST = 3
LLAMA_POOLING_TYPE_RANK = 4

_POOLING = {
    LLAMA_POOLING_TYPE_UNSPECIFIED: None,
    LLAMA_POOLING_TYPE_NONE: "none",
    LLAMA_POOLING_TYPE_MEAN: "mean",
    LLAMA_POOLING_TYPE_CLS: "cls",
    LLAMA_POOLING_TYPE_LAST: "last",
}

Vector = List[float]


class Llama:
    """An embedding model behind llama-cpp-python's interface.

    Args:
        model_path: a GGUF file (or whatever :class:`docent.Embedder` opens).
        n_ctx: tokens that a text may have; 0 for what the model takes.
        n_batch: the same limit, as llama.cpp has it for embeddings.
        n_threads: threads to compute on.
        pooling_type: how hidden states become one vector; by default the model's own way.
        embedding: must be true for :meth:`embed` and :meth:`create_embedding`.
        n_gpu_layers: ignored, with a warning if it asks for something; all other arguments have no meaning here.

    Raises:
        ValueError: no such path, or files that cannot be used.
        NotImplementedError: pooling of rerankers; :class:`docent.Reranker` is the class for them.
    """

    def __init__(
        self,
        model_path: Union[str, os.PathLike[str]],
        *,
        n_gpu_layers: int = 0,
        n_ctx: int = 512,
        n_batch: int = 512,
        n_ubatch: int = 512,
        n_threads: Optional[int] = None,
        n_threads_batch: Optional[int] = None,
        pooling_type: int = LLAMA_POOLING_TYPE_UNSPECIFIED,
        embedding: bool = False,
        verbose: bool = True,
        **kwargs: Any,
    ) -> None:
        if pooling_type == LLAMA_POOLING_TYPE_RANK:
            raise NotImplementedError("pooling_type RANK is for rerankers: use docent.Reranker")
        if pooling_type not in _POOLING:
            raise ValueError(f"pooling_type must be -1 to 3, got {pooling_type}")
        path = os.fspath(model_path)
        if _reads_like_a_path(path) and not os.path.exists(path):
            raise ValueError(f"Model path does not exist: {path}")
        if n_gpu_layers:
            warnings.warn(f"n_gpu_layers={n_gpu_layers} is ignored: this version of Docent computes on the CPU", stacklevel=2)
        self.model_path = path
        self.verbose = verbose
        self._embedding = embedding
        self._pooling = _POOLING[pooling_type]
        self._embedder = Embedder(path, threads=n_threads_batch or n_threads, quant=kwargs.pop("quant", None))
        positions = int(self._embedder.settings["positions"])
        self._n_ctx = min(n_ctx or positions, positions)
        self._limit = min(self._n_ctx, n_batch)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: Optional[str] = None,
        additional_files: Optional[List[str]] = None,
        local_dir: Any = None,
        local_dir_use_symlinks: Any = None,
        cache_dir: Any = None,
        **kwargs: Any,
    ) -> Llama:
        """Opens a file of a repository of the Hugging Face hub, fetching it first if need be.

        ``filename`` may be a pattern as ``*q8_0.gguf``: its number format then chooses the file.
        """
        if filename is None or "*" in filename:
            if filename is not None:
                kwargs["quant"] = filename.replace(".gguf", "").strip("*-_.").upper()
            return cls(f"hf:{repo_id}", **kwargs)
        return cls(f"hf:{repo_id}/{filename}", **kwargs)

    def embed(
        self,
        input: Union[str, List[str]],
        normalize: bool = False,
        truncate: bool = True,
        return_count: bool = False,
    ) -> Any:
        """The vector of a text, or the vectors of several: lists of floats.

        Args:
            input: a text, or a list of texts.
            normalize: whether vectors have unit length.
            truncate: whether a text of more than ``min(n_ctx, n_batch)`` tokens is cut; otherwise it raises ``ValueError``.
            return_count: whether to return a tuple with the number of tokens that were read.

        With pooling ``NONE`` there is a list of vectors, one a token, in the place of a vector.
        """
        if not self._embedding:
            raise RuntimeError("Llama model must be created with embedding=True to call this method")
        single = isinstance(input, str)
        texts = (input,) if isinstance(input, str) else as_tuple(input, "input")
        vectors, tokens = self._vectors(texts, normalize, truncate)
        out = vectors[0] if single else vectors
        return (out, tokens) if return_count else out

    def create_embedding(self, input: Union[str, List[str]], model: Optional[str] = None) -> Dict[str, Any]:
        """The vectors in the form of OpenAI's answers: ``data``, ``model``, ``usage``."""
        vectors, tokens = self.embed([input] if isinstance(input, str) else input, return_count=True)
        return {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(vectors)
            ],
            "model": model if model is not None else self.model_path,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> List[int]:
        """The token ids of a text in UTF-8; with ``add_bos`` the model's special tokens are around it.

        Special tokens in the text itself are read as the model's tokenizer reads them, whatever ``special`` says.
        """
        if not isinstance(text, bytes):
            raise TypeError(f"text must be bytes, not {type(text).__name__}: encode it first, as in text.encode(\"utf-8\")")
        return self._embedder.tokenize(text.decode("utf-8", errors="replace"), special=add_bos)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Any = None, special: bool = False) -> bytes:
        """The text that token ids stand for, in UTF-8, without special tokens."""
        return self._embedder.decode(tokens).encode("utf-8")

    def n_embd(self) -> int:
        """Components of a vector."""
        return self._embedder.dim

    def n_ctx(self) -> int:
        """Tokens that a text may have."""
        return self._n_ctx

    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        return int(self._embedder.settings["vocabulary"])

    def reset(self) -> None:
        """Nothing: there is no state between calls."""

    def close(self) -> None:
        """Nothing: the model is closed when nothing refers to it."""

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise _not_there("__call__")

    def __getattr__(self, name: str) -> Any:
        if name in _GENERATING:
            raise _not_there(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _vectors(self, texts: Tuple[str, ...], normalize: bool, truncate: bool) -> Tuple[List[Any], int]:
        options = self._embedder._options(
            prompt="",
            pooling=self._pooling,
            normalize=normalize,
            max_length=self._limit,
            truncate="right" if truncate else "error",
        )
        vectors, tokens, dropped = self._embedder._model.embed(texts, options)
        warn_of_truncation(dropped, self._limit, stacklevel=4, what="inputs")
        return [rows.tolist() for rows in vectors], int(tokens.sum())


#: What llama-cpp-python's class can do besides, and Docent cannot.
_GENERATING = frozenset(
    """create_completion create_chat_completion create_chat_completion_openai_v1 generate eval sample save_state load_state
    set_cache set_seed token_eos token_bos token_nl logits_to_logprobs longest_token_prefix tokenizer""".split()
)


def _not_there(name: str) -> NotImplementedError:
    return NotImplementedError(f"Llama.{name}: Docent makes embeddings, it does not generate text; use llama-cpp-python for that")


def _reads_like_a_path(path: str) -> bool:
    is_named = path.startswith(("hf:", "http://", "https://")) or _docent.find_model(path) is not None
    return not is_named
