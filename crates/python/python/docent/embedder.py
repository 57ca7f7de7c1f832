"""Texts in, vectors out."""

from __future__ import annotations

import os
from collections.abc import Sized
from typing import TYPE_CHECKING, Any, AsyncIterator, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple, Union

from . import _docent
from ._progress import FetchProgress, Progress, callback, fetch_callback
from ._texts import Texts, as_tuple, batches, check_batch_size, check_iterable, warn_of_truncation
from .errors import OptionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Counts = NDArray[np.int64]

__all__ = ["EmbedResult", "Embedder"]


class EmbedResult(NamedTuple):
    """Vectors of texts, and what the model read of each."""

    #: One row of ``float32`` a text: shape ``(texts, dim)``.
    vectors: Vectors
    #: Tokens that the model read, prompt and special tokens included: shape ``(texts,)``, ``int64``.
    tokens: Counts
    #: Tokens that were cut off, 0 where the model read the whole text: shape ``(texts,)``, ``int64``.
    dropped: Counts

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Which texts were cut: shape ``(texts,)``."""
        return self.dropped > 0


class Embedder:
    """An embedding model, ready to run.

    A vector depends on its text, the options and the model alone: the same bits alone, in any batch, in any order, on any number
    of threads. Calls let other Python threads run; several threads may share one embedder, whose calls then take turns. A
    forked process opens the model anew on first use. Embedders can be pickled: the model is opened again where they arrive.

    Args:
        model: a path (``.gguf`` file or Hugging Face directory), a name of the catalogue (see :func:`docent.models`),
            ``hf:USER/REPO[/FILE]`` or a web address. A model that is not on this machine is fetched first.
        threads: threads to compute on, 1 to 64; by default as many as physical cores that the process may use.
        device: ``"cpu"``, the only one that this version computes on.
        quant: the number format to fetch, such as ``"Q8_0"`` (the default), ``"F16"`` or ``"original"`` for safetensors.
        offline: whether the network is forbidden; ``HF_HUB_OFFLINE`` does the same.
        prompt, prompt_name, pooling, normalize, dim, max_length, truncate: what calls use that do not say otherwise;
            see :meth:`embed`.
        progress: ``True`` to show a download on stderr, or a function called as ``progress(file, done, total)`` in bytes. What
            it raises ends the call.

    Raises:
        ModelNotFoundError: (a ``FileNotFoundError``) no such path, name or repository.
        ModelNameError: (a ``ValueError``) a text that cannot name a model.
        ModelFileError: (a ``ValueError``) files that cannot be used.
        ModelKindError: (a ``ValueError``) a model that makes no embeddings.
        DownloadError: (an ``OSError``) the model cannot be fetched; ``OfflineError`` if it may not be.
        OptionError: (a ``ValueError``) an option out of range.

    >>> embedder = Embedder("all-MiniLM-L6-v2")                         # doctest: +SKIP
    >>> embedder.embed(["a brown fox", "ein brauner Fuchs"]).shape      # doctest: +SKIP
    (2, 384)
    """

    def __init__(
        self,
        model: Union[str, os.PathLike[str]] = _docent.DEFAULT_MODEL,
        *,
        threads: Optional[int] = None,
        device: Optional[str] = None,
        quant: Optional[str] = None,
        offline: bool = False,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        pooling: Optional[str] = None,
        normalize: bool = True,
        dim: Optional[int] = None,
        max_length: Optional[int] = None,
        truncate: str = "right",
        progress: FetchProgress = None,
    ) -> None:
        check_device(device)
        self._open: Dict[str, Any] = {"model": model_name(model), "threads": threads, "quant": quant, "offline": offline}
        self._defaults: Dict[str, Any] = {
            "prompt": prompt,
            "prompt_name": prompt_name,
            "pooling": pooling,
            "normalize": normalize,
            "dim": dim,
            "max_length": max_length,
            "truncate": truncate,
        }
        arguments = {name: value for name, value in self._open.items() if name != "model"}
        self._model = _docent.EmbeddingModel(self._open["model"], progress=fetch_callback(progress), **arguments)
        self._settings = self._model.settings()
        # Defaults that the model cannot follow are better told now than at the first call.
        self._model.embed((), self._defaults)

    # ---- vectors

    def embed(
        self,
        texts: Texts,
        *,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        pooling: Optional[str] = None,
        normalize: Optional[bool] = None,
        dim: Optional[int] = None,
        max_length: Optional[int] = None,
        truncate: Optional[str] = None,
        progress: Progress = None,
    ) -> Vectors:
        """The vectors of the texts, in their order.

        Args:
            texts: one ``str``, or any iterable of ``str`` that ends.
            prompt: text to put in front of each; ``""`` for nothing at all.
            prompt_name: one of the model's own prompts instead: ``"query"``, ``"document"``, ``"default"``, ``"none"`` or a
                name in :attr:`prompts`.
            pooling: ``"mean"``, ``"cls"``, ``"last"`` or ``"max"``; by default the model's own way.
            normalize: whether vectors have unit length.
            dim: components to keep, the first ones, before the scaling (matryoshka).
            max_length: tokens that a text may have, special tokens and prompt included.
            truncate: what happens to a longer text: ``"right"`` cuts its end, ``"left"`` its beginning, ``"error"`` raises.
            progress: ``True`` to show it on stderr, or a function called as ``progress(done, total)`` in texts, now and then.

        Returns:
            ``float32`` of shape ``(dim,)`` for one ``str``, ``(texts, dim)`` for an iterable; ``(0, dim)`` for an empty one.

        Raises:
            TypeError: for anything that is not text.
            OptionError: (a ``ValueError``) an option out of range.
            TextTooLongError: (a ``ValueError``) with ``truncate="error"``.
            UnicodeEncodeError: (a ``ValueError``) half of a surrogate pair in a text.
            KeyboardInterrupt: a second or so after Ctrl-C.

        Warns:
            TruncationWarning: some texts were longer than the model takes; :meth:`embed_detailed` says which.
        """
        options = self._options(prompt, prompt_name, pooling, normalize, dim, max_length, truncate)
        return self._vectors(texts, options, progress)

    def embed_query(self, texts: Texts, *, progress: Progress = None, **options: Any) -> Vectors:
        """:meth:`embed` with the model's prompt for search queries, if it has one. Options are those of :meth:`embed`."""
        return self._vectors(texts, self._with_prompt("query", options), progress)

    def embed_document(self, texts: Texts, *, progress: Progress = None, **options: Any) -> Vectors:
        """:meth:`embed` with the model's prompt for the documents that are searched, if it has one."""
        return self._vectors(texts, self._with_prompt("document", options), progress)

    def embed_detailed(self, texts: Iterable[str], *, progress: Progress = None, **options: Any) -> EmbedResult:
        """:meth:`embed`, and for each text the tokens that were read and cut off. Issues no warning."""
        if isinstance(texts, str):
            texts = (texts,)
        return self._embed(texts, self._options(**options), progress)

    def embed_tokens(self, texts: Iterable[str], **options: Any) -> List[Vectors]:
        """The vectors of the single tokens, special tokens included: for each text an array ``(tokens, hidden_size)``.

        They are the model's last hidden states: not pooled, not projected, not scaled.
        """
        if isinstance(texts, str):
            texts = (texts,)
        settings = self._options(**{**options, "pooling": "none"})
        vectors, _, dropped = self._model.embed(as_tuple(texts), settings)
        warn_of_truncation(dropped, self._limit(settings), stacklevel=3)
        return vectors  # type: ignore[no-any-return]

    def embed_iter(
        self, texts: Iterable[str], *, batch_size: int = 256, progress: Progress = None, **options: Any
    ) -> Iterator[Vectors]:
        """The vectors of texts one by one, for iterables that do not fit into memory or never end.

        A generator: nothing happens before the first ``next()``. ``batch_size`` texts are taken at a time, when their vectors
        are asked for, so memory does not grow. Items are ``float32`` of shape ``(dim,)``.
        """
        check_iterable(texts)
        check_batch_size(batch_size)
        settings = self._options(**options)
        report = callback(progress, "texts")
        total = len(texts) if isinstance(texts, Sized) else None
        done = 0
        for batch in batches([texts] if isinstance(texts, str) else texts, batch_size):
            vectors, _, dropped = self._model.embed(batch, settings)
            warn_of_truncation(dropped, self._limit(settings), stacklevel=3)
            done += len(batch)
            if report is not None:
                report(done, total)
            # Rows of an array would keep all of it alive.
            yield from (row.copy() for row in vectors)

    # ---- the same, for asyncio: on a thread, so that the event loop goes on

    async def aembed(self, texts: Texts, **options: Any) -> Vectors:
        """:meth:`embed`, without blocking the event loop."""
        return await in_thread(self.embed, texts, **options)  # type: ignore[no-any-return]

    async def aembed_query(self, texts: Texts, **options: Any) -> Vectors:
        """:meth:`embed_query`, without blocking the event loop."""
        return await in_thread(self.embed_query, texts, **options)  # type: ignore[no-any-return]

    async def aembed_document(self, texts: Texts, **options: Any) -> Vectors:
        """:meth:`embed_document`, without blocking the event loop."""
        return await in_thread(self.embed_document, texts, **options)  # type: ignore[no-any-return]

    async def aembed_detailed(self, texts: Iterable[str], **options: Any) -> EmbedResult:
        """:meth:`embed_detailed`, without blocking the event loop."""
        return await in_thread(self.embed_detailed, texts, **options)  # type: ignore[no-any-return]

    async def aembed_iter(
        self, texts: Union[Iterable[str], AsyncIterator[str]], *, batch_size: int = 256, **options: Any
    ) -> AsyncIterator[Vectors]:
        """:meth:`embed_iter` for ``async for``. ``texts`` may be an asynchronous iterable too; a batch is computed when it is
        full or the iterable ends."""
        check_batch_size(batch_size)
        settings = self._options(**options)
        async for batch in _abatches(texts, batch_size):
            vectors, _, dropped = await in_thread(self._model.embed, batch, settings)
            warn_of_truncation(dropped, self._limit(settings), stacklevel=3)
            for row in vectors:
                yield row.copy()

    # ---- tokens

    def tokenize(self, text: str, *, special: bool = True) -> List[int]:
        """The token ids of a text, uncut; without the special tokens around it if ``special`` is false."""
        return self._model.tokenize(text, special=special)

    def decode(self, ids: Iterable[int]) -> str:
        """The text that token ids stand for, as far as it can be told: what normalisation removed stays lost."""
        return self._model.decode(list(ids))

    def count_tokens(self, texts: Iterable[str]) -> Counts:
        """How many tokens each text has, special tokens included and uncut: ``int64`` of shape ``(texts,)``."""
        return self._model.count_tokens(as_tuple((texts,) if isinstance(texts, str) else texts))

    # ---- facts

    @property
    def model(self) -> str:
        """The model as it was asked for."""
        return str(self._open["model"])

    @property
    def name(self) -> str:
        """The name that the model's files give it."""
        return str(self._settings["name"])

    @property
    def path(self) -> str:
        """The file or directory that the model was opened from."""
        return str(self._settings["path"])

    @property
    def dim(self) -> int:
        """Components of a vector, as calls make it that do not say otherwise."""
        return int(self._defaults["dim"] or self._settings["dim"])

    @property
    def max_length(self) -> int:
        """Tokens that a text is cut to by calls that do not say otherwise."""
        return self._limit(self._defaults)

    @property
    def prompts(self) -> Dict[str, str]:
        """The model's prompts by name."""
        return dict(self._settings["prompts"])

    @property
    def threads(self) -> int:
        """Threads that the model computes on."""
        return int(self._settings["threads"])

    @property
    def settings(self) -> Dict[str, Any]:
        """What the model is and how it is used: ``architecture``, ``pooling``, ``pooling_from``, ``positions``, ``isa``, ..."""
        return dict(self._settings)

    def __repr__(self) -> str:
        return f"Embedder({self.model!r}, dim={self.dim}, max_length={self.max_length}, threads={self.threads})"

    def __reduce__(self) -> Tuple[Any, ...]:
        return (_embedder, ({**self._open, **self._defaults},))

    # ---- the rest

    def _embed(self, texts: Texts, options: Dict[str, Any], progress: Progress) -> EmbedResult:
        if options["pooling"] == "none":
            raise OptionError("without pooling there is a vector a token: call embed_tokens")
        batch = (texts,) if isinstance(texts, str) else as_tuple(texts)
        return EmbedResult(*self._model.embed(batch, options, callback(progress, "texts")))

    def _with_prompt(self, name: str, options: Dict[str, Any]) -> Dict[str, Any]:
        if "prompt" not in options and "prompt_name" not in options:
            options["prompt_name"] = name
        return self._options(**options)

    def _vectors(self, texts: Texts, options: Dict[str, Any], progress: Progress) -> Vectors:
        """What ``embed`` and its kin return, which their callers call."""
        result = self._embed(texts, options, progress)
        warn_of_truncation(result.dropped, self._limit(options), stacklevel=4)
        return result.vectors[0] if isinstance(texts, str) else result.vectors

    def _options(
        self,
        prompt: Optional[str] = None,
        prompt_name: Optional[str] = None,
        pooling: Optional[str] = None,
        normalize: Optional[bool] = None,
        dim: Optional[int] = None,
        max_length: Optional[int] = None,
        truncate: Optional[str] = None,
    ) -> Dict[str, Any]:
        """The options of a call: its own, then those that the embedder was made with."""
        options = dict(self._defaults)
        if prompt is not None or prompt_name is not None:
            # Either replaces both.
            options.update(prompt=prompt, prompt_name=prompt_name)
        for name, value in (
            ("pooling", pooling),
            ("normalize", normalize),
            ("dim", dim),
            ("max_length", max_length),
            ("truncate", truncate),
        ):
            if value is not None:
                options[name] = value
        return options

    def _limit(self, options: Dict[str, Any]) -> int:
        return int(options["max_length"] or self._settings["max_length"])


def model_name(model: Union[str, os.PathLike[str]]) -> str:
    """A model as the compiled part takes it."""
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        if isinstance(name, str):
            return name
    raise TypeError(f"model must be a str or a path, not {type(model).__name__}")


def check_device(device: Optional[str]) -> None:
    """Docent computes on the CPU."""
    if device not in (None, "cpu"):
        raise OptionError(f"this version of Docent computes on the CPU alone: device must be 'cpu', got {device!r}")


async def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs a function on a thread of the event loop's pool."""
    import asyncio  # at import it would cost those who do not need it a third of the time

    return await asyncio.to_thread(function, *args, **kwargs)


async def _abatches(texts: Any, size: int) -> AsyncIterator[Tuple[str, ...]]:
    if not hasattr(texts, "__aiter__"):
        check_iterable(texts)
        for batch in batches([texts] if isinstance(texts, str) else texts, size):
            yield batch
        return
    pending: List[str] = []
    async for text in texts:
        pending.append(text)
        if len(pending) == size:
            yield tuple(pending)
            pending = []
    if pending:
        yield tuple(pending)


def _embedder(arguments: Dict[str, Any]) -> Embedder:
    """What a pickled embedder becomes."""
    return Embedder(**arguments)
