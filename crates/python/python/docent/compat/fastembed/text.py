"""``TextEmbedding``: dense vectors of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, List, Optional, Sequence, Union

from ..._texts import check_iterable
from ...embedder import Embedder
from . import _models
from ._arguments import check_batch_size, opening, worker_threads
from ._models import Model
from .common.model_description import ModelSource, PoolingType
from .common.types import Device, OnnxProvider

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

__all__ = ["TextEmbedding"]

_POOLING = {PoolingType.CLS: "cls", PoolingType.MEAN: "mean", PoolingType.LAST_TOKEN: "last"}


class TextEmbedding:
    """fastembed's ``TextEmbedding``.

    Args:
        model_name: a name of :meth:`list_supported_models`, in any case.
        threads: threads to compute on.
        lazy_load: whether the model is opened at first use.
        local_files_only: (keyword) whether the network is forbidden.
        specific_model_path: (keyword) a GGUF file or a directory to open instead.
        quant: (keyword, Docent's own) the number format: ``"Q8_0"`` by default, ``"original"`` for the weights as published.
        cache_dir, providers, cuda, device_ids: ignored, with a warning where they ask for something.

    Raises:
        ValueError: a name that is not in the list.
        docent.DocentError: the model cannot be had or used.
    """

    _custom: List[Model] = []

    def __init__(
        self,
        model_name: str = "BAAI/bge-small-en-v1.5",
        cache_dir: Optional[str] = None,
        threads: Optional[int] = None,
        providers: Optional[Sequence[OnnxProvider]] = None,
        cuda: Union[bool, Device] = Device.AUTO,
        device_ids: Optional[List[int]] = None,
        lazy_load: bool = False,
        **kwargs: Any,
    ) -> None:
        model = _models.find(self._all(), model_name)
        if model is None:
            raise ValueError(
                f"Model {model_name} is not supported in TextEmbedding. "
                "Please check the supported models using `TextEmbedding.list_supported_models()`"
            )
        self.model_name = model_name
        self.cache_dir = cache_dir
        self.threads = threads
        self._described = model
        self._opening = opening(cache_dir, threads, providers, cuda, device_ids, kwargs, model.opens)
        # By the number of threads.
        self._embedders: Dict[Optional[int], Embedder] = {}
        if not lazy_load:
            self._embedder()

    @classmethod
    def list_supported_models(cls) -> List[Dict[str, Any]]:
        """The models that can be opened, a dict each."""
        return [_models.facts(model) for model in cls._all()]

    @classmethod
    def add_custom_model(
        cls,
        model: str,
        pooling: PoolingType,
        normalization: bool,
        sources: ModelSource,
        dim: int,
        model_file: str = "onnx/model.onnx",
        description: str = "",
        license: str = "",
        size_in_gb: float = 0.0,
        additional_files: Optional[List[str]] = None,
        output_name: Optional[str] = None,
    ) -> None:
        """Adds a model to the list: ``sources`` names a repository with GGUF or safetensors files, or the address of a GGUF file.

        ``model_file``, ``additional_files`` and ``output_name`` are about ONNX files and have no meaning here.

        Raises:
            ValueError: the name is taken, or ``pooling`` is ``DISABLED``: there is no pooling inside the file.
        """
        if _models.find(cls._all(), model) is not None:
            raise ValueError(
                f"Model {model} is already registered in TextEmbedding, if you still want to add this model, "
                "please use another model name"
            )
        if pooling not in _POOLING:
            raise ValueError(f"Unsupported pooling type {pooling}. Supported types are: {', '.join(map(str, _POOLING))}.")
        custom = Model(
            name=model,
            opens=_models.opens(sources),
            dim=dim,
            pooling=_POOLING[pooling],
            normalize=normalization,
            description=description,
            license=license,
            size_in_gb=size_in_gb,
            sources=sources,
            model_file=model_file,
        )
        TextEmbedding._custom.append(custom)

    @property
    def embedding_size(self) -> int:
        """Components of a vector."""
        return self._described.dim

    @classmethod
    def get_embedding_size(cls, model_name: str) -> int:
        """Components of a vector of the model of this name.

        Raises:
            ValueError: a name that is not in the list.
        """
        model = _models.find(cls._all(), model_name)
        if model is None:
            names = [model.name for model in cls._all()]
            raise ValueError(f"Embedding size for model {model_name} was None. Available model names: {names}")
        return model.dim

    def embed(
        self, documents: Union[str, Iterable[str]], batch_size: int = 256, parallel: Optional[int] = None, **kwargs: Any
    ) -> Iterator[Vector]:
        """The vectors of the documents, one by one and in their order: ``float32`` of shape ``(dim,)``.

        A generator: nothing, not even a check of arguments, happens before the first ``next()``, and ``batch_size`` documents are
        taken at a time. ``parallel`` is the number of threads, 0 for one a processor. With no more than the constructor's, which is
        what ``None`` stands for, nothing changes; for more the model is opened a second time.
        """
        check_batch_size(batch_size)
        check_iterable(documents, "documents")
        model = self._described
        embedder = self._embedder(worker_threads(parallel))
        yield from embedder.embed_iter(
            documents, batch_size=batch_size, prompt="", pooling=model.pooling, normalize=model.normalize
        )

    def query_embed(self, query: Union[str, Iterable[str]], **kwargs: Any) -> Iterator[Vector]:
        """:meth:`embed` of queries; no prompt is put in front, as in fastembed."""
        yield from self.embed(query, **kwargs)

    def passage_embed(self, texts: Iterable[str], **kwargs: Any) -> Iterator[Vector]:
        """:meth:`embed` of passages; no prompt is put in front, as in fastembed."""
        yield from self.embed(texts, **kwargs)

    def token_count(self, texts: Union[str, Iterable[str]], batch_size: int = 1024, **kwargs: Any) -> int:
        """How many tokens of the texts the model reads, special tokens included, in all."""
        check_iterable(texts, "texts")
        embedder = self._embedder()
        counts = embedder.count_tokens(texts)
        return int(counts.clip(max=embedder.max_length).sum())

    @classmethod
    def _all(cls) -> List[Model]:
        return _models.dense() + TextEmbedding._custom

    def _embedder(self, threads: Optional[int] = None) -> Embedder:
        opened = self._embedders.get(None)
        if threads is not None and opened is not None and threads <= opened.threads:
            return opened
        if threads not in self._embedders:
            arguments = dict(self._opening)
            if threads is not None:
                arguments["threads"] = threads
            self._embedders[threads] = Embedder(**arguments)
        return self._embedders[threads]
