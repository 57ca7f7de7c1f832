"""Image embedding models, which Docent does not run."""

from __future__ import annotations

from typing import Any, ClassVar, Dict

from ._not_run import NotRun, known

__all__ = ["ImageEmbedding"]


class ImageEmbedding(NotRun):
    """Image embedding models, which Docent does not run."""

    _known = known("Qdrant/clip-ViT-B-32-vision")
    _more_facts: ClassVar[Dict[str, Any]] = {"dim": 512, "tasks": {}}
