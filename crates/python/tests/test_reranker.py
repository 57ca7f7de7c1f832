"""``docent.Reranker``: orders, scores, options."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER

import docent

DOCUMENTS = ["a dog", "the cat sat on the mat", "cats", ""]


def test_scores_are_those_of_transformers(tiny_reranker):
    reference = json.loads((TINY_RERANKER / "reference.json").read_text())
    for pair in reference["pairs"]:
        score = tiny_reranker.score(pair["query"], [pair["document"]], raw=True)[0]
        np.testing.assert_allclose(score, pair["logit"], atol=1e-4)


def test_the_best_come_first(tiny_reranker):
    ranked = tiny_reranker.rerank("where is the cat", DOCUMENTS)
    assert sorted(document.index for document in ranked) == [0, 1, 2, 3]
    assert [document.score for document in ranked] == sorted((document.score for document in ranked), reverse=True)
    assert all(document.kind == "sigmoid" and 0 <= document.score <= 1 for document in ranked)
    assert tiny_reranker.rerank("where is the cat", DOCUMENTS, top_n=2) == ranked[:2]
    assert tiny_reranker.rerank("q", []) == []
    raw = tiny_reranker.rerank("where is the cat", DOCUMENTS, raw=True)
    assert [(document.index, document.score, document.kind) for document in raw] == [
        (document.index, document.raw, "logit") for document in ranked
    ]


def test_scores_are_in_the_order_of_the_documents(tiny_reranker):
    scores = tiny_reranker.score("where is the cat", DOCUMENTS)
    assert scores.dtype == np.float32 and scores.shape == (4,)
    for document in tiny_reranker.rerank("where is the cat", DOCUMENTS):
        assert scores[document.index] == np.float32(document.score)
    assert tiny_reranker.score("q", []).shape == (0,)


def test_pairs(tiny_reranker):
    pairs = [("a", "b"), ("a", "c"), ["d", "e"], ("a", "b")]
    scores = tiny_reranker.score_pairs(pairs)
    assert scores.shape == (4,) and scores[0] == scores[3]
    for (query, document), score in zip(pairs, scores):
        assert tiny_reranker.score(query, [document])[0] == score
    assert tiny_reranker.score_pairs([]).shape == (0,)
    for wrong in (["ab"], [("a",)], [("a", 1)], [None], [("a", "b", "c")]):
        with pytest.raises(TypeError, match=r"pairs\[0\] must be a tuple or list of two str"):
            tiny_reranker.score_pairs(wrong)


def test_many_documents_are_scored_in_windows(tiny_reranker):
    documents = [f"document {index}" for index in range(150)]
    steps = []
    scores = tiny_reranker.score("which", documents, progress=lambda done, total: steps.append((done, total)))
    assert len(steps) >= 3 and steps == sorted(steps) and steps[-1] == (150, 150)
    assert scores[100] == tiny_reranker.score("which", documents[100:101])[0]


def test_long_documents(tiny_reranker):
    long = "the cat sat on the mat " * 100
    (cut,) = tiny_reranker.rerank("cat", [long])
    assert cut.truncated and cut.dropped > 0 and cut.tokens == tiny_reranker.max_length
    (read,) = tiny_reranker.rerank("cat", [long], long_documents="windows")
    assert not read.truncated and read.tokens > tiny_reranker.max_length and read.raw >= cut.raw
    with pytest.warns(docent.TruncationWarning, match="1 of 1 documents truncated"):
        tiny_reranker.score("cat", [long])


def test_bad_input(tiny_reranker):
    for wrong, error in (
        (lambda: tiny_reranker.rerank(None, ["a"]), "query must be a str, not NoneType"),
        (lambda: tiny_reranker.rerank(b"q", ["a"]), "query must be a str, not bytes"),
        (lambda: tiny_reranker.rerank("q", "one text"), "documents must be an iterable of str, not one str"),
        (lambda: tiny_reranker.rerank("q", ["a", None]), r"documents\[1\] must be a str, not NoneType"),
        (lambda: tiny_reranker.score("q", None), "documents must be a str or an iterable of str, not NoneType"),
    ):
        with pytest.raises(TypeError, match=error):
            wrong()
    for wrong, kind, error in (
        (lambda: tiny_reranker.rerank("q", ["a"], top_n=0), docent.OptionError, "top_n must be at least 1"),
        (lambda: tiny_reranker.rerank("q", ["a"], instruction="x"), docent.OptionError, "takes no instruction"),
        (lambda: tiny_reranker.rerank("q", ["a"], long_documents="x"), docent.OptionError, "long_documents must be one of"),
        (lambda: tiny_reranker.rerank("word " * 500, ["a"]), docent.TextTooLongError, "shorten the query to 127"),
        (lambda: docent.Reranker(TINY), docent.ModelKindError, "not a reranker"),
        (lambda: docent.Embedder(TINY_RERANKER), docent.ModelKindError, "not an embedding model"),
    ):
        with pytest.raises(kind, match=error) as raised:
            wrong()
        assert isinstance(raised.value, ValueError) and isinstance(raised.value, docent.DocentError)


def test_a_pickled_reranker_gives_the_same_scores(tiny_reranker):
    again = pickle.loads(pickle.dumps(tiny_reranker))
    assert again.rerank("cat", DOCUMENTS) == tiny_reranker.rerank("cat", DOCUMENTS)
    assert repr(again).startswith("Reranker(")
