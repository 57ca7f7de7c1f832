"""The Python clients of OpenAI, Cohere, Ollama and Hugging Face against the server at the address in the first argument."""

import asyncio
import os
import sys

# No proxy, no key and no setting of the caller's comes between.
for name in list(os.environ):
    if name.lower().endswith("_proxy") or name.startswith(("OPENAI_", "CO_", "OLLAMA_", "HF_")):
        del os.environ[name]

import cohere
import huggingface_hub
import numpy as np
import ollama
import openai

URL = sys.argv[1]
TEXTS = ["hello world", "the cat sat on the mat"]
QUERY, DOCUMENTS = "where is the cat", ["a dog", "the cat sat on the mat", "where the cat is"]


def raised(error, call, *args, **kwargs):
    """The error that a call must raise."""
    try:
        result = call(*args, **kwargs)
    except error as found:
        return found
    raise AssertionError(f"expected {error.__name__}, found {result!r}")


def test_openai():
    client = openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
    models = {model.task: model.id for model in client.models.list()}
    embedder, reranker = models["embed"], models["rerank"]
    assert client.models.retrieve(embedder).id == embedder

    # The client asks for Base64 unless it is told, and decodes it.
    answer = client.embeddings.create(model=embedder, input=TEXTS)
    vectors = np.array([item.embedding for item in answer.data])
    assert vectors.shape == (2, 96), vectors.shape
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 0
    assert [item.index for item in answer.data] == [0, 1]
    floats = client.embeddings.create(model=embedder, input=TEXTS, encoding_format="float")
    assert np.array_equal(vectors.astype(np.float32), np.array([item.embedding for item in floats.data], np.float32))
    alone = client.embeddings.create(model=embedder, input=TEXTS[1])
    assert alone.data[0].embedding == answer.data[1].embedding, "a vector does not depend on its neighbours"

    short = client.embeddings.create(model=embedder, input=TEXTS[0], dimensions=32)
    assert len(short.data[0].embedding) == 32
    ids = client.embeddings.create(model=embedder, input=[[4, 915, 241, 5], [4, 915, 5]])
    assert len(ids.data) == 2
    assert ids.data[0].embedding == answer.data[0].embedding, "the tokens of the text give its vector"
    one = client.embeddings.create(model=embedder, input=[4, 915, 241, 5])
    assert one.data[0].embedding == ids.data[0].embedding
    partial = client.embeddings.create(model=embedder, input=[[2, 3], [10**6]], encoding_format="float", extra_body={"partial": True})
    assert partial.data[1].embedding is None and partial.data[1].error["param"] == "input"

    error = raised(openai.NotFoundError, client.embeddings.create, model="none", input="a")
    assert (error.code, error.param) == ("model_not_found", "model"), error.body
    error = raised(openai.BadRequestError, client.embeddings.create, model=embedder, input=[])
    assert error.param == "input" and error.type == "invalid_request_error", error.body
    raised(openai.BadRequestError, client.embeddings.create, model=embedder, input="a", dimensions=10**6)
    raised(openai.BadRequestError, client.embeddings.create, model=reranker, input="a")
    raised(openai.NotFoundError, client.chat.completions.create, model=embedder, messages=[])

    async def concurrently():
        many = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0)
        calls = (many.embeddings.create(model=embedder, input=TEXTS[n % 2]) for n in range(32))
        return await asyncio.gather(*calls)

    for n, found in enumerate(asyncio.run(concurrently())):
        assert found.data[0].embedding == answer.data[n % 2].embedding


def test_cohere():
    for client in (cohere.Client(base_url=URL, api_key="none"), cohere.ClientV2(base_url=URL, api_key="none")):
        ranked = client.rerank(model="modern-bert-rerank", query=QUERY, documents=DOCUMENTS, top_n=2)
        scores = [hit.relevance_score for hit in ranked.results]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True), scores
        assert all(0 <= score <= 1 for score in scores), scores
        assert {hit.index for hit in ranked.results} < {0, 1, 2}
        assert ranked.meta.api_version.version in ("1", "2")
        raised(cohere.NotFoundError, client.rerank, model="none", query=QUERY, documents=DOCUMENTS)
        error = raised(cohere.BadRequestError, client.rerank, model="modern-bert-rerank", query=QUERY, documents=[])
        assert "documents" in error.body["message"], error.body
    first = cohere.Client(base_url=URL, api_key="none")
    books = [{"title": "cat", "text": "a"}, {"title": "dog", "text": "b"}]
    ranked = first.rerank(query=QUERY, documents=books, rank_fields=["title"], return_documents=True)
    assert {hit.document.text for hit in ranked.results} == {"a", "b"}


def test_ollama():
    client = ollama.Client(host=URL)
    names = [model.model for model in client.list().models]
    assert names == ["bert-tiny:latest", "modern-bert-rerank:latest"], names
    answer = client.embed(model=names[0], input=TEXTS)
    assert len(answer.embeddings) == 2 and len(answer.embeddings[0]) == 96
    assert answer.prompt_eval_count > 0 and answer.total_duration > 0
    assert len(client.embed(model=names[0], input=TEXTS[0], dimensions=32).embeddings[0]) == 32
    older = client.embeddings(model=names[0], prompt=TEXTS[0])
    assert np.allclose(older.embedding, answer.embeddings[0])
    # A client that wants the model loaded.
    assert client.embed(model=names[0], input="").embeddings == []
    assert client.show(names[0]).modelinfo["general.architecture"] == "bert"
    assert client.show(names[0]).capabilities == ["embedding"]
    assert len(client.ps().models) == 2
    error = raised(ollama.ResponseError, client.embed, model="none", input="a")
    assert error.status_code == 404 and "none" in error.error, error
    error = raised(ollama.ResponseError, client.embed, model=names[0], input="word " * 500, truncate=False)
    assert error.status_code == 400, error


def test_huggingface_hub():
    client = huggingface_hub.InferenceClient(model=URL, token="none")
    features = client.feature_extraction(TEXTS[0], normalize=True)
    assert features.shape == (1, 96), features.shape
    assert np.allclose(np.linalg.norm(features), 1, atol=1e-5)
    cut = client.feature_extraction("word " * 500, truncate=True, truncation_direction="Left")
    assert cut.shape == (1, 96)
    similarities = client.sentence_similarity(TEXTS[0], other_sentences=TEXTS)
    assert len(similarities) == 2 and abs(similarities[0] - 1) < 1e-5 and similarities[1] < 1, similarities
    error = raised(huggingface_hub.errors.HfHubHTTPError, client.feature_extraction, "word " * 500, truncate=False)
    assert error.response.status_code == 422, error


for name, test in list(globals().items()):
    if name.startswith("test_"):
        test()
        print(f"python {name.removeprefix('test_')}: passed")
