"""Kinds of models that Docent does not run.

Their classes are there because programs import them by name, and list a model because qdrant-client takes an empty list for a
broken installation. Opening one says what is the case.
"""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List

from ._models import Model, facts
from .common.model_description import ModelSource


class NotRun:
    """Base of the classes for kinds of models that Docent does not run."""

    _known: ClassVar[Model]
    _more_facts: ClassVar[Dict[str, Any]] = {}

    def __init__(self, model_name: str = "", *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            f"{type(self).__name__}: Docent runs text embedding models and rerankers, not {model_name or 'such models'}; "
            "use the package fastembed for it"
        )

    @classmethod
    def list_supported_models(cls) -> List[Dict[str, Any]]:
        """A model that the real fastembed runs. Docent does not: its ``description`` says so."""
        return [{**facts(cls._known), **cls._more_facts}]


def known(name: str) -> Model:
    """A model that is known by name alone."""
    return Model(
        name=name,
        opens="",
        description="not run by Docent: opening it raises NotImplementedError",
        sources=ModelSource(hf=name),
    )
