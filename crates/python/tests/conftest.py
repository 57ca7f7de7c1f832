"""What the tests share: models, and a way to run a script in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Callable

import pytest

import docent

# Packages that the tests use would report to their makers.
os.environ.update(ANONYMIZED_TELEMETRY="False", HAYSTACK_TELEMETRY_ENABLED="False", RAY_USAGE_STATS_ENABLED="0")

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"

#: A BERT of 2 layers and 96 components, with prompts for queries and documents; texts are cut at 96 tokens.
TINY = FIXTURES / "bert-tiny"
#: A reranker of the same size.
TINY_RERANKER = FIXTURES / "encoders" / "modern-bert-rerank"


@pytest.fixture(scope="session")
def tiny() -> docent.Embedder:
    return docent.Embedder(TINY)


@pytest.fixture(scope="session")
def tiny_reranker() -> docent.Reranker:
    return docent.Reranker(TINY_RERANKER)


@pytest.fixture(scope="session")
def minilm() -> docent.Embedder:
    """The real all-MiniLM-L6-v2 with the weights as published, read up to 512 tokens.

    With ``DOCENT_TEST_REQUIRE_MODEL`` set, as in CI, not having it is a failure, not a reason to skip.
    """
    try:
        return docent.Embedder("all-MiniLM-L6-v2", quant="original", max_length=512)
    except docent.DownloadError as error:
        if "DOCENT_TEST_REQUIRE_MODEL" in os.environ:
            raise
        pytest.skip(f"all-MiniLM-L6-v2 cannot be fetched: {error}")


@pytest.fixture
def script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python code in a process of its own, in which ``TINY`` and ``TINY_RERANKER`` are paths."""

    def run(code: str, *, timeout: float = 120, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        head = f"import docent, os, sys, threading, time\nTINY = {str(TINY)!r}\nTINY_RERANKER = {str(TINY_RERANKER)!r}\n"
        return subprocess.run(
            [python, "-c", head + textwrap.dedent(code)], capture_output=True, text=True, timeout=timeout, check=False
        )

    return run
