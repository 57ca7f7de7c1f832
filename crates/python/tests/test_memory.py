"""Memory stays flat over thousands of calls, whatever they end with."""

from __future__ import annotations

import gc
import os

import pytest

import docent


def resident() -> int:
    """Bytes of memory that the process has in use."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system has no /proc")


def grown(call, calls: int, warm: int) -> int:
    """Bytes that ``calls`` calls add after the first ``warm``."""
    for _ in range(warm):
        call()
    gc.collect()
    before = resident()
    for _ in range(calls):
        call()
    gc.collect()
    return resident() - before


def test_ten_thousand_calls(tiny):
    texts = ["hello world", "the cat sat on the mat"]
    assert grown(lambda: tiny.embed(texts), 10_000, warm=500) < 4 << 20


def test_generators_and_results_with_details(tiny):
    def call():
        list(tiny.embed_iter(iter(["hello world"] * 20), batch_size=7))
        tiny.embed_detailed(["hello world"])

    assert grown(call, 1_000, warm=100) < 4 << 20


def test_errors(tiny):
    def call():
        for wrong in (["a", None], ["\ud800"]):
            with pytest.raises((TypeError, ValueError)):
                tiny.embed(wrong)
        with pytest.raises(docent.OptionError):
            tiny.embed(["a"], dim=1000)

    assert grown(call, 1_000, warm=100) < 4 << 20


def test_reranking(tiny_reranker):
    assert grown(lambda: tiny_reranker.rerank("q", ["a dog", "a cat"]), 3_000, warm=300) < 4 << 20


def test_opening_and_closing(script):
    # In a process of its own: where many threads have been, the allocator's arenas take long to settle.
    outcome = script(
        """
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for count in range(600):
            if count == 200:
                before = resident()
            docent.Embedder(TINY).embed("x")
        print(resident() - before)
        """
    )
    assert outcome.returncode == 0 and int(outcome.stdout) < 4 << 20, outcome


def test_an_endless_generator(tiny):
    vectors = tiny.embed_iter((f"text {index}" for index in iter(int, 1)), batch_size=64)
    assert grown(lambda: next(vectors), 20_000, warm=1_000) < 4 << 20
