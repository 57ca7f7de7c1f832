"""Types that fastembed's users import from ``fastembed.common``."""

from __future__ import annotations

from .types import ImageInput, OnnxProvider, PathInput

__all__ = ["ImageInput", "OnnxProvider", "PathInput"]
