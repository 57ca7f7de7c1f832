"""``docent.compat.fastembed``: fastembed's interface, and qdrant-client on top of it."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER

import docent
from docent.compat.fastembed import (
    ImageEmbedding,
    LateInteractionMultimodalEmbedding,
    LateInteractionTextEmbedding,
    SparseEmbedding,
    SparseTextEmbedding,
    TextEmbedding,
)
from docent.compat.fastembed.common.model_description import ModelSource, PoolingType
from docent.compat.fastembed.common.types import Device
from docent.compat.fastembed.rerank.cross_encoder import TextCrossEncoder

SMALL = "BAAI/bge-small-en-v1.5"
RERANKER = "Xenova/ms-marco-MiniLM-L-6-v2"


@pytest.fixture(scope="module")
def model() -> TextEmbedding:
    """The interface on the small model of the tests, which fastembed's name says nothing about."""
    return TextEmbedding(SMALL, specific_model_path=str(TINY))


def test_nothing_runs_before_the_first_next(model):
    wrong = model.embed(["a"], batch_size=0)
    with pytest.raises(ValueError, match="^batch_size must be >= 1, got 0$"):
        next(wrong)
    taken = itertools.count()
    endless = model.embed((f"text {next(taken)}" for _ in itertools.count()), batch_size=4)
    assert next(taken) == 0
    vector = next(endless)
    assert vector.shape == (96,) and vector.dtype == np.float32 and next(taken) == 5
    with pytest.raises(TypeError, match="documents must be a str or an iterable of str"):
        next(model.embed(None))


def test_vectors_have_the_order_of_the_documents(model):
    documents = [f"document {index}" for index in range(30)]
    vectors = list(model.embed(documents, batch_size=7))
    assert len(vectors) == 30
    tiny = docent.Embedder(TINY, pooling="cls")  # fastembed pools this name's model so
    assert np.array_equal(np.stack(vectors), tiny.embed(documents))
    assert np.array_equal(vectors[3], next(iter(model.embed("document 3"))))


@pytest.mark.parametrize("parallel", [0, 1, 3])
def test_parallel_asks_for_threads(model, parallel):
    documents = ["some text", "another"] * 20
    assert np.array_equal(np.stack(list(model.embed(documents, parallel=parallel))), np.stack(list(model.embed(documents))))


def test_queries_and_passages_get_no_prompt(model):
    plain = next(iter(model.embed("hello")))
    assert np.array_equal(next(iter(model.query_embed("hello"))), plain)
    assert np.array_equal(next(iter(model.query_embed(["hello"]))), plain)
    assert np.array_equal(next(iter(model.passage_embed(["hello"]))), plain)


def test_models_that_fastembed_does_not_scale_are_not_scaled():
    unscaled = TextEmbedding("nomic-ai/nomic-embed-text-v1.5", specific_model_path=str(TINY))
    vector = next(iter(unscaled.embed("hello world")))
    expected = docent.Embedder(TINY).embed("hello world", pooling="mean", normalize=False)
    assert np.array_equal(vector, expected) and abs(np.linalg.norm(vector) - 1) > 0.1
    for name in ("nomic-ai/nomic-embed-text-v1", "intfloat/multilingual-e5-large"):
        assert not TextEmbedding(name, lazy_load=True)._described.normalize


def test_names(model):
    listed = TextEmbedding.list_supported_models()
    assert len(listed) > 20 and {entry["model"] for entry in listed} > {SMALL, "sentence-transformers/all-MiniLM-L6-v2"}
    keys = "model sources model_file description license size_in_GB additional_files dim tasks".split()
    assert all(list(entry) == keys for entry in listed)
    assert TextEmbedding.get_embedding_size("baai/BGE-small-en-v1.5") == 384 == model.embedding_size
    message = "Model nothing is not supported in TextEmbedding. Please check the supported models using"
    with pytest.raises(ValueError, match=message):
        TextEmbedding("nothing")
    with pytest.raises(ValueError, match="Embedding size for model nothing was None"):
        TextEmbedding.get_embedding_size("nothing")


def test_the_list_is_the_callers_own():
    """qdrant-client takes keys out of the entries."""
    for kind in (TextEmbedding, TextCrossEncoder, SparseTextEmbedding):
        for entry in kind.list_supported_models():
            entry.clear()
        assert all(entry["model"] for entry in kind.list_supported_models())


def test_tokens_are_counted(model):
    assert model.token_count("hello world") == 4
    assert model.token_count(["hello world", "", "word " * 500]) == 4 + 2 + 96


def test_what_has_no_meaning_is_told_of():
    for arguments, message in (
        ({"providers": ["CUDAExecutionProvider"]}, "providers=.*CUDAExecutionProvider.* is ignored"),
        ({"providers": [("CoreMLExecutionProvider", {})]}, "is ignored"),
        ({"cuda": True}, "cuda is ignored"),
        ({"cuda": Device.CUDA}, "cuda is ignored"),
        ({"device_ids": [0]}, "device_ids=.* is ignored"),
        ({"cache_dir": "/x"}, "cache_dir='/x' is ignored"),
    ):
        with pytest.warns(UserWarning, match=message) as record:
            TextEmbedding(SMALL, lazy_load=True, **arguments)
        assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextEmbedding(SMALL, lazy_load=True, providers=["CPUExecutionProvider"], cuda=Device.AUTO, device_ids=None)


def test_a_lazy_model_is_opened_when_it_is_used():
    lazy = TextEmbedding(SMALL, lazy_load=True, specific_model_path="/no/where.gguf")
    with pytest.raises(FileNotFoundError, match="/no/where.gguf"):
        next(lazy.embed(["a"]))
    with pytest.raises(FileNotFoundError):
        TextEmbedding(SMALL, specific_model_path="/no/where.gguf")


def test_custom_models():
    source = ModelSource(hf="nobody/mine")
    TextEmbedding.add_custom_model("me/mine", PoolingType.MEAN, True, source, 96, description="mine")
    try:
        assert TextEmbedding.list_supported_models()[-1]["model"] == "me/mine"
        assert TextEmbedding.get_embedding_size("ME/mine") == 96
        vector = next(iter(TextEmbedding("me/mine", specific_model_path=str(TINY)).embed("hello world")))
        assert np.array_equal(vector, docent.Embedder(TINY).embed("hello world"))
        assert TextEmbedding("me/mine", lazy_load=True)._opening["model"] == "hf:nobody/mine"
        with pytest.raises(ValueError, match="Model Me/Mine is already registered in TextEmbedding, if you still want"):
            TextEmbedding.add_custom_model("Me/Mine", PoolingType.CLS, True, source, 96)
    finally:
        TextEmbedding._custom.clear()
    with pytest.raises(ValueError, match="Unsupported pooling type"):
        TextEmbedding.add_custom_model("me/other", PoolingType.DISABLED, True, source, 96)
    with pytest.raises(ValueError, match="At least one source should be set"):
        ModelSource()


def test_reranking():
    encoder = TextCrossEncoder(RERANKER, specific_model_path=str(TINY_RERANKER))
    documents = ["a dog", "the cat sat on the mat", "cats"]
    scores = encoder.rerank("where is the cat", (document for document in documents), batch_size=2)
    expected = docent.Reranker(TINY_RERANKER).score("where is the cat", documents, raw=True).tolist()
    assert list(scores) == expected and all(isinstance(score, float) for score in expected)
    pairs = [("where is the cat", document) for document in documents]
    assert list(encoder.rerank_pairs(pairs, batch_size=2, parallel=2)) == expected
    assert encoder.token_count(pairs) == sum(hit.tokens for hit in docent.Reranker(TINY_RERANKER).rerank(pairs[0][0], documents))
    with pytest.raises(ValueError, match="Model x is not supported in TextCrossEncoder."):
        TextCrossEncoder("x")
    assert RERANKER in {entry["model"] for entry in TextCrossEncoder.list_supported_models()}
    with pytest.raises(ValueError, match="already registered in TextCrossEncoder"):
        TextCrossEncoder.add_custom_model(RERANKER, ModelSource(hf="a/b"))


def test_kinds_that_are_not_run_say_so():
    for kind in (SparseTextEmbedding, LateInteractionTextEmbedding, LateInteractionMultimodalEmbedding, ImageEmbedding):
        (entry,) = kind.list_supported_models()
        assert "not run by Docent" in entry["description"]
        with pytest.raises(NotImplementedError, match=f"{kind.__name__}: Docent runs .* not {entry['model']}"):
            kind(entry["model"])
    sparse = SparseEmbedding.from_dict({3: 0.5, 7: 0.25})
    assert sparse.as_dict() == {3: 0.5, 7: 0.25} and set(sparse.as_object()) == {"values", "indices"}


def test_canonical_vectors(minilm):
    """The first components that fastembed's own tests expect."""
    model = TextEmbedding("sentence-transformers/all-MiniLM-L6-v2", quant="original")
    vectors = list(model.embed(["hello world", "flag embedding"]))
    np.testing.assert_allclose(vectors[0][:5], [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362], atol=1e-4)
    np.testing.assert_allclose(vectors[1], minilm.embed("flag embedding"), atol=1e-7)


def test_installed_as_fastembed(script):
    outcome = script(
        """
        from docent.compat import fastembed as ours
        ours.install()
        ours.install()
        import fastembed
        from fastembed import TextEmbedding
        from fastembed.common import ImageInput, OnnxProvider
        from fastembed.common.model_description import ModelSource, PoolingType
        from fastembed.common.types import Device
        from fastembed.rerank.cross_encoder import TextCrossEncoder
        from fastembed.sparse import SparseEmbedding
        from fastembed.text import TextEmbedding as same
        assert fastembed is ours and same is TextEmbedding is ours.TextEmbedding
        """
    )
    assert outcome.returncode == 0, outcome.stderr
    too_late = script(
        """
        import sys, types
        sys.modules["fastembed"] = types.ModuleType("fastembed")
        from docent.compat import fastembed
        fastembed.install()
        """
    )
    assert "RuntimeError: fastembed is imported already" in too_late.stderr


def test_qdrant_client(script):
    pytest.importorskip("qdrant_client")
    outcome = script(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from docent.compat import fastembed
        from docent.compat.fastembed.common.model_description import ModelSource, PoolingType
        fastembed.install()
        fastembed.TextEmbedding.add_custom_model("me/tiny", PoolingType.MEAN, True, ModelSource(url=TINY), 96)

        from qdrant_client import QdrantClient, models
        client = QdrantClient(":memory:")
        size = client.get_embedding_size("me/tiny")
        assert size == 96
        client.create_collection("notes", vectors_config=models.VectorParams(size=size, distance=models.Distance.COSINE))
        texts = ["the cat sat on the mat", "a river runs through the city", "people walk along the water"]
        client.upload_collection(
            "notes",
            vectors=[models.Document(text=text, model="me/tiny") for text in texts],
            ids=[1, 2, 3],
            payload=[{"text": text} for text in texts],
        )
        assert client.count("notes").count == 3
        for id, text in enumerate(texts, start=1):
            hits = client.query_points("notes", query=models.Document(text=text, model="me/tiny"), limit=3).points
            assert hits[0].id == id and hits[0].score > 0.9999, hits

        # The older interface of the same client.
        if hasattr(client, "add"):
            client.set_model("me/tiny")
            client.add("old", documents=texts, ids=[1, 2, 3])
            found = client.query("old", query_text=texts[1], limit=1)
            assert found[0].id == 2 and found[0].document == texts[1], found
        try:
            client.query_points("notes", query=models.Image(image="x.png", model="Qdrant/clip-ViT-B-32-vision"))
        except NotImplementedError as error:
            print("refused")
        """
    )
    assert (outcome.returncode, outcome.stdout) == (0, "refused\n"), outcome.stderr
