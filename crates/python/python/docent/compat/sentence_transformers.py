"""sentence-transformers' interface to inference: ``from docent.compat.sentence_transformers import SentenceTransformer``.

``SentenceTransformer`` has ``encode``, ``encode_query``, ``encode_document`` and ``similarity``, ``CrossEncoder`` has ``predict`` and
``rank``, with the arguments and results of sentence-transformers 5. What differs, by intention:

* Results are NumPy arrays where the original returns PyTorch tensors (``similarity``); ``convert_to_tensor=True`` needs PyTorch.
* ``quant=`` and ``threads=`` are Docent's own: ``quant="original"`` takes the weights as published, ``Q8_0`` is the default.
* ``batch_size`` has no influence: nothing is padded, and a vector does not depend on its neighbours.
* A text that is cut is told of in a ``docent.TruncationWarning``.
* There is no training.
"""

from __future__ import annotations

import json
import os
import warnings
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Union

from .. import _docent
from .._texts import warn_of_truncation
from ..embedder import Embedder
from ..errors import OptionError
from ..reranker import Reranker, check_pair

__all__ = ["CrossEncoder", "SentenceTransformer"]

Array = Any
Precision = str

_PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


class SentenceTransformer:
    """An embedding model behind sentence-transformers' interface.

    Args:
        model_name_or_path: what :class:`docent.Embedder` opens, or a repository of the Hugging Face hub, ``USER/REPO``.
        prompts: prompts by name, in place of the model's own.
        default_prompt_name: the prompt of calls that name none.
        similarity_fn_name: ``"cosine"`` (the default), ``"dot"``, ``"euclidean"`` or ``"manhattan"``.
        truncate_dim: components to keep.
        revision: a branch, tag or commit of the repository.
        local_files_only: whether the network is forbidden.
        threads, quant: as for :class:`docent.Embedder`.
        device: ``None`` or ``"cpu"``; others are ignored with a warning. All other arguments have no meaning here.

    Raises:
        docent.DocentError: the model cannot be had or used.
    """

    def __init__(
        self,
        model_name_or_path: Optional[str] = None,
        *,
        modules: Any = None,
        device: Optional[str] = None,
        prompts: Optional[Dict[str, str]] = None,
        default_prompt_name: Optional[str] = None,
        similarity_fn_name: Optional[str] = None,
        cache_folder: Any = None,
        trust_remote_code: bool = False,
        revision: Optional[str] = None,
        local_files_only: bool = False,
        token: Any = None,
        truncate_dim: Optional[int] = None,
        backend: str = "torch",
        threads: Optional[int] = None,
        quant: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        if modules is not None or model_name_or_path is None:
            raise NotImplementedError("SentenceTransformer: Docent opens models by name or path, not from modules")
        _ignore(device=None if device == "cpu" else device, cache_folder=cache_folder)
        self._embedder = Embedder(
            _opens(model_name_or_path, revision), threads=threads, quant=quant, offline=local_files_only, dim=truncate_dim
        )
        settings = self._embedder.settings
        self.prompts: Dict[str, str] = dict(self._embedder.prompts if prompts is None else prompts)
        self.default_prompt_name: Optional[str] = default_prompt_name or settings["default_prompt_name"]
        self._check_prompt_name(self.default_prompt_name)
        self.similarity_fn_name = similarity_fn_name or "cosine"
        if self.similarity_fn_name not in _SIMILARITIES:
            raise ValueError(f"similarity_fn_name must be one of {', '.join(_SIMILARITIES)}, got {self.similarity_fn_name!r}")
        self.truncate_dim = truncate_dim
        self.device = "cpu"
        self._max_seq_length: int = settings["max_length"]
        # Files that do not say (GGUF) are of models that are used at unit length.
        self._scaled: bool = settings["normalize"] is not False

    def encode(
        self,
        inputs: Union[str, Sequence[str], None] = None,
        prompt_name: Optional[str] = None,
        prompt: Optional[str] = None,
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        output_value: Optional[str] = "sentence_embedding",
        precision: Precision = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: Optional[int] = None,
        pool: Any = None,
        chunk_size: Optional[int] = None,
        sentences: Union[str, Sequence[str], None] = None,
        **kwargs: Any,
    ) -> Array:
        """The vectors of the inputs, in their order.

        Args:
            inputs: a text or several; ``sentences`` is the older name of the argument.
            prompt_name, prompt: what is put in front of each.
            show_progress_bar: whether progress is shown on stderr.
            output_value: ``"sentence_embedding"`` or ``"token_embeddings"``.
            precision: ``"float32"``, ``"int8"``, ``"uint8"``, ``"binary"`` or ``"ubinary"``; with the integers a component's range
                is that of the inputs.
            normalize_embeddings: whether to scale to unit length models that do not do so themselves, and vectors that were cut.
            truncate_dim: components to keep, cut after the model's own scaling.

        Returns:
            ``float32`` of shape ``(dim,)`` for one text, ``(texts, dim)`` for several; with ``"token_embeddings"`` a list of
            arrays ``(tokens, hidden_size)``.
        """
        texts = inputs if inputs is not None else sentences
        if texts is None:
            raise TypeError("encode: inputs is missing")
        if precision not in _PRECISIONS:
            raise ValueError(f"Precision {precision!r} is not supported: it must be one of {', '.join(_PRECISIONS)}")
        text = self._prompt(prompt_name, prompt)
        single = isinstance(texts, str)
        batch: List[str] = [texts] if isinstance(texts, str) else list(texts)
        if output_value == "token_embeddings":
            tokens = self._embedder.embed_tokens(batch, prompt=text, max_length=self._max_seq_length)
            return tokens[0] if single else tokens
        if output_value != "sentence_embedding":
            raise ValueError(f"output_value must be 'sentence_embedding' or 'token_embeddings', got {output_value!r}")
        result = self._embedder.embed_detailed(
            batch,
            prompt=text,
            normalize=self._scaled,
            dim=self._embedder.settings["dim"],
            max_length=self._max_seq_length,
            progress=bool(show_progress_bar),
        )
        warn_of_truncation(result.dropped, self._max_seq_length, stacklevel=3)
        dim = truncate_dim or self.truncate_dim
        vectors = result.vectors if dim is None else _cut(result.vectors, dim)
        if normalize_embeddings:
            vectors = _at_unit_length(vectors)
        vectors = quantize_embeddings(vectors, precision)
        return _delivered(vectors, single, convert_to_numpy, convert_to_tensor)

    def encode_query(self, inputs: Union[str, Sequence[str]], prompt_name: Optional[str] = None, **options: Any) -> Array:
        """:meth:`encode` with the prompt ``query``, if the model has it and no other is asked for."""
        if prompt_name is None and options.get("prompt") is None and "query" in self.prompts:
            prompt_name = "query"
        return self.encode(inputs, prompt_name=prompt_name, **options)

    def encode_document(self, inputs: Union[str, Sequence[str]], prompt_name: Optional[str] = None, **options: Any) -> Array:
        """:meth:`encode` with the first of the prompts ``document``, ``passage``, ``corpus`` that the model has."""
        if prompt_name is None and options.get("prompt") is None:
            prompt_name = next((name for name in ("document", "passage", "corpus") if name in self.prompts), None)
        return self.encode(inputs, prompt_name=prompt_name, **options)

    def similarity(self, embeddings1: Array, embeddings2: Array) -> Array:
        """How alike each of the one is to each of the other: ``float32`` of shape ``(texts 1, texts 2)``; larger is more."""
        import numpy as np

        first, second = _rows(embeddings1), _rows(embeddings2)
        if self.similarity_fn_name == "cosine":
            return _at_unit_length(first) @ _at_unit_length(second).T
        if self.similarity_fn_name == "dot":
            return first @ second.T
        # Row by row: all differences at once would take memory for texts 1 x texts 2 x dim.
        function = _SIMILARITIES[self.similarity_fn_name]
        return np.stack([function(row, second) for row in first]) if len(first) else np.empty((0, len(second)), np.float32)

    def similarity_pairwise(self, embeddings1: Array, embeddings2: Array) -> Array:
        """How alike the vectors in the same rows are: ``float32`` of shape ``(texts,)``."""
        return _SIMILARITIES[self.similarity_fn_name](_rows(embeddings1), _rows(embeddings2))

    def get_sentence_embedding_dimension(self) -> int:
        """Components of a vector."""
        return self.truncate_dim or self._embedder.dim

    get_embedding_dimension = get_sentence_embedding_dimension

    @property
    def max_seq_length(self) -> int:
        """Tokens that a text is cut to; may be set."""
        return self._max_seq_length

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        # The model says what it takes.
        self._embedder.embed((), max_length=value)
        self._max_seq_length = value

    def get_max_seq_length(self) -> int:
        """Tokens that a text is cut to."""
        return self._max_seq_length

    def tokenize(self, texts: Iterable[str], **kwargs: Any) -> Dict[str, Array]:
        """``input_ids`` and ``attention_mask`` of the texts, uncut: ``int64`` of shape ``(texts, tokens of the longest)``."""
        import numpy as np

        ids = [self._embedder.tokenize(text) for text in texts]
        shape = (len(ids), max(map(len, ids), default=0))
        input_ids, attention_mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for row, tokens in enumerate(ids):
            input_ids[row, : len(tokens)] = tokens
            attention_mask[row, : len(tokens)] = 1
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def eval(self) -> SentenceTransformer:
        """Itself: there is no training to switch off."""
        return self

    def to(self, device: Any = None, *args: Any, **kwargs: Any) -> SentenceTransformer:
        """Itself, with a warning for any device but the CPU."""
        _ignore(device=None if str(device) == "cpu" else device)
        return self

    def __repr__(self) -> str:
        return f"SentenceTransformer({self._embedder.model!r})"

    def _prompt(self, name: Optional[str], prompt: Optional[str]) -> str:
        if prompt is not None:
            return prompt
        name = name or self.default_prompt_name
        self._check_prompt_name(name)
        return "" if name is None else self.prompts[name]

    def _check_prompt_name(self, name: Optional[str]) -> None:
        if name is not None and name not in self.prompts:
            raise ValueError(
                f"Prompt name '{name}' not found in the configured prompts dictionary with keys {list(self.prompts)!r}."
            )


class CrossEncoder:
    """A reranker behind sentence-transformers' interface.

    Args:
        model_name_or_path: what :class:`docent.Reranker` opens, or a repository of the Hugging Face hub, ``USER/REPO``.
        num_labels: 1 or ``None``: Docent runs models with one score a pair.
        max_length: tokens that a pair may have.
        activation_fn: what is done with the raw scores: ``None`` for what the model's files say (a sigmoid if nothing), a
            module of the name ``Identity`` or ``Sigmoid``, or a function of a NumPy array.
        revision, local_files_only, threads, quant, device: as for :class:`SentenceTransformer`.
    """

    def __init__(
        self,
        model_name_or_path: str,
        *,
        num_labels: Optional[int] = None,
        max_length: Optional[int] = None,
        activation_fn: Optional[Callable[[Array], Array]] = None,
        device: Optional[str] = None,
        cache_folder: Any = None,
        trust_remote_code: bool = False,
        revision: Optional[str] = None,
        local_files_only: bool = False,
        token: Any = None,
        backend: str = "torch",
        threads: Optional[int] = None,
        quant: Optional[str] = None,
        **kwargs: Any,
    ) -> None:
        if num_labels not in (None, 1):
            raise ValueError(f"CrossEncoder: Docent runs models with one score a pair, got num_labels={num_labels}")
        _ignore(device=None if device == "cpu" else device, cache_folder=cache_folder)
        self._reranker = Reranker(
            _opens(model_name_or_path, revision),
            threads=threads,
            quant=quant,
            offline=local_files_only,
            max_length=max_length,
        )
        self.num_labels = 1
        self.activation_fn = activation_fn
        self._raw_by_default = _is_raw(self._reranker)

    @property
    def max_length(self) -> int:
        """Tokens that a pair may have."""
        return self._reranker.max_length

    def predict(
        self,
        inputs: Any = None,
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        activation_fn: Optional[Callable[[Array], Array]] = None,
        apply_softmax: Optional[bool] = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        sentences: Any = None,
        **kwargs: Any,
    ) -> Array:
        """The scores of pairs of texts: ``float32`` of shape ``(pairs,)``, or one number for one pair.

        Which numbers they are says the activation: a logit for models whose files name the identity, such as ms-marco, and a
        number from 0 to 1 for the others. ``apply_softmax`` is for models with several scores a pair, and has no effect.
        """
        pairs = inputs if inputs is not None else sentences
        if pairs is None:
            raise TypeError("predict: inputs is missing")
        single = len(pairs) == 2 and isinstance(pairs[0], str)
        batch = [check_pair(index, pair) for index, pair in enumerate([pairs] if single else pairs)]
        scores = self._activated(self._reranker.score_pairs(batch, raw=True), activation_fn)
        return _delivered(scores, single, convert_to_numpy, convert_to_tensor)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: Optional[int] = None,
        return_documents: bool = False,
        batch_size: int = 32,
        show_progress_bar: Optional[bool] = None,
        activation_fn: Optional[Callable[[Array], Array]] = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **kwargs: Any,
    ) -> List[Dict[str, Any]]:
        """The documents, best first: dicts with ``corpus_id``, ``score`` and, if asked for, ``text``."""
        documents = list(documents)
        raw = self._reranker.score(query, documents, raw=True, progress=bool(show_progress_bar))
        scores = self._activated(raw, activation_fn)
        order = sorted(range(len(documents)), key=lambda index: (-float(scores[index]), index))
        return [
            {"corpus_id": index, "score": scores[index], **({"text": documents[index]} if return_documents else {})}
            for index in order[:top_k]
        ]

    def __repr__(self) -> str:
        return f"CrossEncoder({self._reranker.model!r})"

    def _activated(self, raw: Array, activation_fn: Optional[Callable[[Array], Array]]) -> Array:
        import numpy as np

        function = activation_fn or self.activation_fn
        name = type(function).__name__
        if name == "Identity" or (function is None and self._raw_by_default):
            return raw
        if name == "Sigmoid" or function is None:
            return (1 / (1 + np.exp(-raw.astype(np.float64)))).astype(np.float32)
        return np.asarray(function(raw))


def quantize_embeddings(embeddings: Array, precision: Precision) -> Array:
    """Vectors in fewer bits, as sentence-transformers packs them.

    ``int8`` and ``uint8`` divide the range that a component has in these vectors into 255 steps; ``binary`` and ``ubinary`` keep the
    sign of a component in a bit, eight to a number.
    """
    import numpy as np

    if precision == "float32":
        return embeddings
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    low = embeddings.min(axis=0) if len(embeddings) else embeddings
    steps = (embeddings.max(axis=0) - low) / 255 if len(embeddings) else embeddings
    with np.errstate(invalid="ignore", divide="ignore"):
        # A component that is the same in all vectors is at the low end of its range.
        places = np.nan_to_num((embeddings - low) / steps)
    return places.astype(np.uint8) if precision == "uint8" else (places - 128).astype(np.int8)


def _cosine(a: Array, b: Array) -> Array:
    return (_at_unit_length(a) * _at_unit_length(b)).sum(axis=-1)


def _dot(a: Array, b: Array) -> Array:
    return (a * b).sum(axis=-1)


def _euclidean(a: Array, b: Array) -> Array:
    return -(((a - b) ** 2).sum(axis=-1) ** 0.5)


def _manhattan(a: Array, b: Array) -> Array:
    return -abs(a - b).sum(axis=-1)


#: Each of two arrays of vectors, row by row; one of them may be a single vector.
_SIMILARITIES: Dict[str, Callable[[Array, Array], Array]] = {
    "cosine": _cosine,
    "dot": _dot,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}


def _rows(vectors: Array) -> Array:
    import numpy as np

    array = np.asarray(vectors, dtype=np.float32)
    return array[None, :] if array.ndim == 1 else array


def _at_unit_length(vectors: Array) -> Array:
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths == 0, 1, lengths)


def _cut(vectors: Array, dim: int) -> Array:
    if not 1 <= dim <= vectors.shape[1]:
        raise OptionError(f"truncate_dim must be 1 to {vectors.shape[1]}, got {dim}")
    return vectors[:, :dim]


def _delivered(values: Array, single: bool, convert_to_numpy: bool, convert_to_tensor: bool) -> Array:
    """Results in the form that is asked for."""
    if convert_to_tensor or not convert_to_numpy:
        import torch  # type: ignore[import-not-found, unused-ignore]

        values = torch.from_numpy(values)
        if not convert_to_tensor:
            values = list(values)
    return values[0] if single else values


def _opens(name: str, revision: Optional[str]) -> str:
    """What Docent opens: repositories that are not in its catalogue need to be told from paths."""
    name = os.fspath(name)
    if os.path.exists(name) or _is_known(name, revision) or name.startswith(("hf:", "http://", "https://")):
        return name
    if "/" not in name:
        # sentence-transformers' own models may be named without their user.
        name = f"sentence-transformers/{name}"
        if _is_known(name, revision):
            return name
    return f"hf:{name}" + (f"@{revision}" if revision else "")


def _is_known(name: str, revision: Optional[str]) -> bool:
    return revision is None and _docent.find_model(name) is not None


def _is_raw(reranker: Reranker) -> bool:
    """Whether the model's files name the identity as what is done with its scores."""
    for file in ("config.json", "config_sentence_transformers.json"):
        try:
            with open(os.path.join(reranker.path, file), encoding="utf-8") as opened:
                config = json.load(opened)
        except (OSError, ValueError):
            continue
        own = config.get("sentence_transformers")
        function = (own or {}).get("activation_fn") if isinstance(own, dict) else None
        function = function or config.get("activation_fn") or config.get("sbert_ce_default_activation_function")
        if isinstance(function, str):
            return function.endswith("Identity")
    # A GGUF file does not say; of the models in the catalogue those of ms-marco do.
    return "ms-marco" in reranker.model.lower() or "ms-marco" in reranker.name.lower()


def _ignore(**arguments: Any) -> None:
    for name, value in arguments.items():
        if value is not None:
            reason = "this version of Docent computes on the CPU" if name == "device" else "HF_HOME says where models are"
            warnings.warn(f"{name}={value!r} is ignored: {reason}", UserWarning, stacklevel=3)
