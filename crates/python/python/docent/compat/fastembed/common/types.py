"""Types of arguments."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Dict, Tuple, Union

PathInput = Union[str, Path]
#: An image: a path, or an image of Pillow, which is not imported for the sake of its name.
ImageInput = Any
#: A back end of ONNX Runtime, by name and with options.
OnnxProvider = Union[str, Tuple[str, Dict[Any, Any]]]
NumpyArray = Any


class Device(str, Enum):
    """What to compute on."""

    CPU = "cpu"
    CUDA = "cuda"
    AUTO = "auto"
