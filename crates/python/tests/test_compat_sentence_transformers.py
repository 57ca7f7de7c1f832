"""``docent.compat.sentence_transformers``: encode, predict, rank and what belongs to them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import FIXTURES, TINY, TINY_RERANKER

import docent
from docent.compat.sentence_transformers import CrossEncoder, SentenceTransformer

TEXTS = ["the cat sat on the mat", "a river", "people walk along the water"]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return SentenceTransformer(str(TINY))


def test_encode(model, tiny):
    vectors = model.encode(TEXTS)
    assert vectors.shape == (3, 96) and vectors.dtype == np.float32 and np.array_equal(vectors, tiny.embed(TEXTS))
    assert np.array_equal(model.encode(TEXTS[0]), vectors[0])
    assert np.array_equal(model.encode(sentences=TEXTS, batch_size=1), vectors)
    assert np.array_equal(model.encode(np.array(TEXTS)), vectors)
    assert model.encode([]).shape == (0, 96)


def test_prompts(model, tiny):
    assert np.array_equal(model.encode_query("a river"), tiny.embed("query: a river"))
    assert np.array_equal(model.encode_document("a river"), tiny.embed("the text is: a river"))
    assert np.array_equal(model.encode("a river", prompt_name="query"), model.encode_query(["a river"])[0])
    assert np.array_equal(model.encode_query("a river", prompt="x: "), tiny.embed("x: a river"))
    assert model.prompts == {"query": "query: ", "document": "the text is: "}
    with pytest.raises(ValueError, match="Prompt name 'nothing' not found in the configured prompts dictionary"):
        model.encode("x", prompt_name="nothing")
    own = SentenceTransformer(str(TINY), prompts={"passage": "p: "}, default_prompt_name="passage")
    assert np.array_equal(own.encode("x"), tiny.embed("p: x")) and np.array_equal(own.encode_document("x"), tiny.embed("p: x"))
    assert np.array_equal(own.encode_query("x"), own.encode("x")), "no prompt of that name: the default"


def test_scaling_is_that_of_the_models_modules(tmp_path, tiny):
    folder = tmp_path / "unscaled"
    shutil.copytree(TINY, folder)
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:2]))
    unscaled = SentenceTransformer(str(folder))
    assert np.array_equal(unscaled.encode("x"), tiny.embed("x", normalize=False))
    np.testing.assert_allclose(unscaled.encode("x", normalize_embeddings=True), tiny.embed("x"), atol=1e-6)


def test_cut_vectors_are_scaled_only_when_asked(model, tiny):
    whole = tiny.embed(TEXTS)
    assert np.array_equal(model.encode(TEXTS, truncate_dim=32), whole[:, :32])
    np.testing.assert_allclose(
        model.encode(TEXTS, truncate_dim=32, normalize_embeddings=True), tiny.embed(TEXTS, dim=32), atol=1e-6
    )
    small = SentenceTransformer(str(TINY), truncate_dim=16)
    assert np.array_equal(small.encode(TEXTS), whole[:, :16]) and small.get_sentence_embedding_dimension() == 16
    with pytest.raises(ValueError, match="truncate_dim must be 1 to 96"):
        model.encode(TEXTS, truncate_dim=97)


def test_precisions(model):
    vectors = model.encode(TEXTS)
    assert model.encode(TEXTS, precision="int8").dtype == np.int8
    unsigned = model.encode(TEXTS, precision="uint8")
    assert unsigned.dtype == np.uint8 and unsigned.min(axis=0).max() == 0 and unsigned.max(axis=0).min() >= 254
    bits = model.encode(TEXTS, precision="ubinary")
    assert bits.shape == (3, 12) and np.array_equal(np.unpackbits(bits, axis=1) == 1, vectors > 0)
    assert np.array_equal(model.encode(TEXTS, precision="binary").astype(int) + 128, bits)
    with pytest.raises(ValueError, match="Precision 'float8' is not supported"):
        model.encode(TEXTS, precision="float8")


def test_similarity(model):
    vectors = model.encode(TEXTS)
    scores = model.similarity(vectors, vectors)
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(np.diag(scores), 1, atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(vectors, vectors[::-1]), scores[np.arange(3), [2, 1, 0]], atol=1e-6)
    for name, expected in (
        ("dot", vectors @ vectors.T),
        ("euclidean", -np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)),
        ("manhattan", -np.abs(vectors[:, None] - vectors[None]).sum(axis=-1)),
    ):
        other = SentenceTransformer(str(TINY), similarity_fn_name=name)
        np.testing.assert_allclose(other.similarity(vectors, vectors), expected, atol=1e-3 if name == "euclidean" else 1e-5)
        assert other.similarity_pairwise(vectors[0], vectors[1]).shape == (1,)


def test_token_embeddings_and_lengths(model, tiny):
    rows = model.encode("hello world", output_value="token_embeddings")
    assert np.array_equal(rows, tiny.embed_tokens(["hello world"])[0])
    tokens = model.tokenize(["hello world", "x"])
    assert tokens["input_ids"].shape == (2, 4) and tokens["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert model.max_seq_length == 96 == model.get_max_seq_length()
    short = SentenceTransformer(str(TINY))
    short.max_seq_length = 10
    with pytest.warns(docent.TruncationWarning, match="1 of 1 texts truncated to 10 tokens") as record:
        short.encode("word " * 50)
    assert record[0].filename == __file__
    with pytest.raises(ValueError, match="out of range"):
        short.max_seq_length = 1000


def test_arguments_without_meaning(model):
    with pytest.warns(UserWarning, match="device='cuda' is ignored"):
        SentenceTransformer(str(TINY), device="cuda")
    with pytest.raises(TypeError, match="inputs is missing"):
        model.encode()
    with pytest.raises(TypeError, match=r"texts\[0\] must be a str, not list"):
        model.encode([["a", "b"]])
    assert model.eval() is model and model.to("cpu") is model
    assert not hasattr(model, "fit")


def test_names_of_the_hub():
    from docent.compat.sentence_transformers import _opens

    assert _opens("all-MiniLM-L6-v2", None) == "all-MiniLM-L6-v2"
    assert _opens("sentence-transformers/all-MiniLM-L6-v2", None) == "sentence-transformers/all-MiniLM-L6-v2"
    assert _opens("someone/some-model", None) == "hf:someone/some-model"
    assert _opens("some-model", "v1") == "hf:sentence-transformers/some-model@v1"
    assert _opens(str(TINY), None) == str(TINY)


def test_cross_encoder(tiny_reranker):
    encoder = CrossEncoder(str(TINY_RERANKER))
    pairs = [("where is the cat", text) for text in TEXTS]
    scores = encoder.predict(pairs)
    np.testing.assert_allclose(scores, tiny_reranker.score_pairs(pairs), atol=1e-6)
    single = encoder.predict(pairs[0])
    assert single == scores[0] and np.ndim(single) == 0
    assert np.array_equal(encoder.predict([list(pair) for pair in pairs]), scores)
    ranked = encoder.rank("where is the cat", TEXTS, top_k=2, return_documents=True)
    best = np.argsort(-scores)[:2]
    assert [hit["corpus_id"] for hit in ranked] == best.tolist() and ranked[0]["text"] == TEXTS[best[0]]
    assert set(encoder.rank("q", TEXTS)[0]) == {"corpus_id", "score"}
    with pytest.raises(ValueError, match="one score a pair"):
        CrossEncoder(str(TINY_RERANKER), num_labels=3)
    with pytest.raises(TypeError, match=r"pairs\[0\] must be"):
        encoder.predict(["only one text", "and another", "and one more"])


def test_the_activation_is_what_the_files_say(tmp_path, tiny_reranker):
    pair = ("where is the cat", TEXTS[0])
    raw, scaled = tiny_reranker.score_pairs([pair], raw=True)[0], tiny_reranker.score_pairs([pair])[0]

    class Identity:
        """By its name, as PyTorch's."""

    encoder = CrossEncoder(str(TINY_RERANKER))
    assert encoder.predict(pair) == pytest.approx(scaled, abs=1e-6)
    assert encoder.predict(pair, activation_fn=Identity()) == raw
    assert encoder.predict(pair, activation_fn=lambda scores: scores * 2) == raw * 2
    assert CrossEncoder(str(TINY_RERANKER), activation_fn=Identity()).predict(pair) == raw
    folder = tmp_path / "model"
    shutil.copytree(TINY_RERANKER, folder)
    config = json.loads((folder / "config.json").read_text())
    for own, expected in (
        ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, raw),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, raw),
        ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, scaled),
    ):
        (folder / "config.json").write_text(json.dumps({**config, **own}))
        assert CrossEncoder(str(folder)).predict(pair) == pytest.approx(expected, abs=1e-6)


def test_vectors_of_the_real_model(minilm):
    """213 texts against transformers in float32, whose vectors are in the fixtures."""
    folder = FIXTURES / "minilm"
    texts = [json.loads(line)["text"] for line in (folder / "texts.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = np.load(folder / "vectors.npy")
    exact = SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2", quant="original")
    exact.max_seq_length = 512
    small = SentenceTransformer("all-MiniLM-L6-v2")
    small.max_seq_length = 512
    with pytest.warns(docent.TruncationWarning):
        vectors, quantised = exact.encode(texts), small.encode(texts)
    assert np.abs(vectors - expected).max() < 1e-4
    assert (vectors * expected).sum(axis=1).min() > 0.99999
    cosines = (quantised * expected).sum(axis=1)
    assert cosines.mean() > 0.999 and cosines.min() > 0.995
    sentences = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    similarities = exact.similarity(exact.encode(sentences), exact.encode(sentences))
    np.testing.assert_allclose(similarities[np.triu_indices(3, 1)], [0.6660, 0.1046, 0.1411], atol=1e-4)
