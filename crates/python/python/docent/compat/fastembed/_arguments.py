"""Arguments that mean something to ONNX Runtime alone."""

from __future__ import annotations

import os
import warnings
from typing import Any, Dict, Optional

from .common.types import Device


def opening(
    cache_dir: Any, threads: Optional[int], providers: Any, cuda: Any, device_ids: Any, options: Dict[str, Any], opens: str
) -> Dict[str, Any]:
    """The arguments with which Docent opens the model, and a warning for each that it has no use for."""
    if cache_dir is not None:
        _warn(f"cache_dir={cache_dir!r} is ignored: models are in the Hugging Face cache, HF_HOME says where it is")
    if any(_provider(provider) != "CPUExecutionProvider" for provider in providers or ()):
        _warn(f"providers={providers!r} is ignored: Docent computes on the CPU, without ONNX Runtime")
    if cuda is True or cuda == Device.CUDA:
        _warn("cuda is ignored: this version of Docent computes on the CPU")
    if device_ids:
        _warn(f"device_ids={device_ids!r} is ignored: this version of Docent computes on the CPU")
    path = options.get("specific_model_path")
    return {
        "model": os.fspath(path) if path is not None else opens,
        "threads": threads,
        "offline": bool(options.get("local_files_only", False)),
        "quant": options.get("quant"),
    }


def check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}")


def worker_threads(parallel: Optional[int]) -> Optional[int]:
    """The threads that stand for fastembed's ``parallel`` worker processes of one thread each."""
    if parallel is None:
        return None
    return min(parallel or os.cpu_count() or 1, 64)


def _provider(provider: Any) -> str:
    return str(provider if isinstance(provider, str) else provider[0])


def _warn(message: str) -> None:
    # Over `opening`, and the constructor that called it.
    warnings.warn(message, UserWarning, stacklevel=4)
