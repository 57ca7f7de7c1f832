"""Late interaction (a vector a token), which Docent does not run."""

from __future__ import annotations

from typing import Any, ClassVar, Dict

from ._not_run import NotRun, known

__all__ = ["LateInteractionMultimodalEmbedding", "LateInteractionTextEmbedding"]


class LateInteractionTextEmbedding(NotRun):
    """Late interaction models of texts, which Docent does not run."""

    _known = known("colbert-ir/colbertv2.0")
    _more_facts: ClassVar[Dict[str, Any]] = {"dim": 128, "tasks": {}}


class LateInteractionMultimodalEmbedding(NotRun):
    """Late interaction models of texts and images, which Docent does not run."""

    _known = known("Qdrant/colpali-v1.3-fp16")
    _more_facts: ClassVar[Dict[str, Any]] = {"dim": 128, "tasks": {}}
