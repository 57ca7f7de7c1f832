"""``docent.compat.llama_cpp``: llama-cpp-python's calls for embeddings."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER

import docent
from docent.compat import llama_cpp
from docent.compat.llama_cpp import Llama


@pytest.fixture(scope="module")
def llama() -> Llama:
    return Llama(str(TINY), embedding=True, verbose=False)


def test_embed(llama, tiny):
    vector = llama.embed("hello world")
    assert isinstance(vector, list) and len(vector) == 96 and isinstance(vector[0], float)
    np.testing.assert_allclose(vector, tiny.embed("hello world", normalize=False), atol=1e-7)
    scaled = llama.embed(["hello world", "x"], normalize=True)
    np.testing.assert_allclose(scaled, tiny.embed(["hello world", "x"]), atol=1e-7)
    vectors, count = llama.embed(["hello world", "x"], return_count=True)
    assert len(vectors) == 2 and count == 4 + 3
    assert llama.embed([]) == []


def test_create_embedding(llama):
    answer = llama.create_embedding(["hello world", "x"])
    assert answer["object"] == "list" and answer["model"] == str(TINY)
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [item["index"] for item in answer["data"]] == [0, 1]
    assert answer["data"][0]["embedding"] == llama.embed("hello world")
    assert llama.create_embedding("x", model="m")["model"] == "m"


def test_pooling(tiny):
    rows = Llama(TINY, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_NONE).embed("hello world")
    assert np.array(rows).shape == (4, 96)
    last = Llama(TINY, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_LAST).embed("hello world")
    assert last == rows[-1]
    with pytest.raises(NotImplementedError, match="docent.Reranker"):
        Llama(TINY_RERANKER, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_RANK)
    with pytest.raises(ValueError, match="pooling_type must be"):
        Llama(TINY, pooling_type=9)


def test_long_texts(tiny):
    llama = Llama(TINY, embedding=True, n_batch=20)
    with pytest.warns(docent.TruncationWarning, match="1 of 2 inputs truncated to 20 tokens"):
        vectors, count = llama.embed(["word " * 100, "x"], return_count=True)
    assert count == 20 + 3
    with pytest.raises(ValueError, match="more than the 20 allowed"):
        llama.embed("word " * 100, truncate=False)
    whole = Llama(TINY, embedding=True, n_ctx=0)
    assert whole.n_ctx() == 128


def test_tokens(llama):
    assert llama.tokenize(b"hello world") == [4, 915, 241, 5]
    assert llama.tokenize(b"hello world", add_bos=False) == [915, 241]
    assert llama.detokenize([4, 915, 241, 5]) == b"hello world"
    assert (llama.n_embd(), llama.n_vocab()) == (96, 916)
    with pytest.raises(TypeError, match="text must be bytes, not str"):
        llama.tokenize("hello")


def test_what_is_not_there(llama):
    for call in (lambda: llama("x"), lambda: llama.create_completion("x"), lambda: llama.create_chat_completion([])):
        with pytest.raises(NotImplementedError, match="does not generate text; use llama-cpp-python"):
            call()
    assert not hasattr(llama, "nonsense")
    with pytest.raises(RuntimeError, match="^Llama model must be created with embedding=True to call this method$"):
        Llama(TINY).embed("x")
    with pytest.raises(ValueError, match="^Model path does not exist: /no/where.gguf$"):
        Llama("/no/where.gguf")
    with pytest.warns(UserWarning, match="n_gpu_layers=-1 is ignored"):
        Llama(TINY, n_gpu_layers=-1)
    with pytest.raises(TypeError, match="input must be a str or an iterable of str"):
        llama.embed(None)
    with Llama(TINY, embedding=True) as opened:
        opened.reset()
        assert len(opened.embed("x")) == 96
