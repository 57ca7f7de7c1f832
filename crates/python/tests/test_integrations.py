"""Adapters, with the packages they are for."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER

TEXTS = ["the cat sat on the mat", "a river runs through the city", "people walk along the water"]


def test_adapters_are_imported_only_when_used(script):
    outcome = script("print(*(name for name in ('chromadb', 'langchain_core', 'llama_index', 'haystack') if name in sys.modules))")
    assert outcome.stdout == "\n", outcome.stderr


def test_chroma_keeps_a_collection(tmp_path, script):
    pytest.importorskip("chromadb")
    first = script(
        f"""
        import chromadb
        from docent.integrations.chromadb import DocentEmbeddingFunction
        client = chromadb.PersistentClient({str(tmp_path)!r})
        notes = client.create_collection("notes", embedding_function=DocentEmbeddingFunction(TINY, dim=64))
        notes.add(ids=["1", "2", "3"], documents={TEXTS!r}, metadatas=[{{"n": n}} for n in range(3)])
        assert len(notes.query(query_texts=["a river runs through the city"], n_results=2)["ids"][0]) == 2
        assert len(notes.get(ids=["1"], include=["embeddings"])["embeddings"][0]) == 64
        """
    )
    assert first.returncode == 0, first.stderr
    # Another process, which does not say what the collection was made with.
    again = script(
        f"""
        import chromadb
        from docent.integrations.chromadb import DocentEmbeddingFunction
        client = chromadb.PersistentClient({str(tmp_path)!r})
        notes = client.get_collection("notes")
        assert notes.count() == 3
        function = notes.configuration["embedding_function"]
        assert isinstance(function, DocentEmbeddingFunction), function
        assert function.get_config() == {{"model_name": TINY, "quant": None, "dim": 64, "max_length": None}}
        assert notes.configuration["embedding_function"].embedder is function.embedder, "opened once"
        texts, embedder = {TEXTS!r}, docent.Embedder(TINY, dim=64)
        for query in texts + ["where is the cat", "water"]:
            found = notes.query(query_texts=[query], n_results=1)
            best = (embedder.embed_document(texts) @ embedder.embed_query(query)).argmax()
            assert found["documents"] == [[texts[best]]], found
        notes.upsert(ids=["4"], documents=["one more"])
        assert notes.count() == 4
        # The same model said again is no conflict.
        client.get_collection("notes", embedding_function=DocentEmbeddingFunction(TINY, dim=64))
        """
    )
    assert again.returncode == 0, again.stderr


def test_chroma_function(tiny):
    pytest.importorskip("chromadb")
    from docent.integrations.chromadb import DocentEmbeddingFunction

    function = DocentEmbeddingFunction(str(TINY))
    documents, queries = function(TEXTS), function.embed_query(["a river"])
    assert isinstance(documents, list) and documents[0].dtype == np.float32
    np.testing.assert_allclose(np.stack(documents), tiny.embed_document(TEXTS), atol=1e-6)
    np.testing.assert_allclose(queries[0], tiny.embed_query("a river"), atol=1e-6)
    assert DocentEmbeddingFunction.name() == "docent"
    assert (function.default_space(), function.supported_spaces()) == ("cosine", ["cosine", "l2", "ip"])
    again = DocentEmbeddingFunction.build_from_config(function.get_config())
    assert again == function and again.get_config() == function.get_config()
    with pytest.raises(ValueError, match="model_name cannot be changed"):
        function.validate_config_update(function.get_config(), {"model_name": "other"})
    function.validate_config_update(function.get_config(), function.get_config())
    with pytest.raises(ValueError, match="expected model_name"):
        DocentEmbeddingFunction.validate_config({"model": "x"})


def test_langchain(tiny):
    pytest.importorskip("langchain_core")
    from langchain_core.documents import Document
    from langchain_core.vectorstores import InMemoryVectorStore

    from docent.integrations.langchain import DocentEmbeddings, DocentReranker

    embeddings = DocentEmbeddings(str(TINY))
    np.testing.assert_allclose(embeddings.embed_documents(TEXTS), tiny.embed_document(TEXTS), atol=1e-7)
    np.testing.assert_allclose(embeddings.embed_query("a river"), tiny.embed_query("a river"), atol=1e-7)
    assert asyncio.run(embeddings.aembed_query("a river")) == embeddings.embed_query("a river")
    assert asyncio.run(embeddings.aembed_documents(TEXTS)) == embeddings.embed_documents(TEXTS)
    store = InMemoryVectorStore(DocentEmbeddings(tiny))
    store.add_texts(TEXTS)
    found = store.similarity_search("people walk along the water", k=3)
    assert len(found) == 3
    reranker = DocentReranker(model=str(TINY_RERANKER), top_n=2)
    documents = [Document(page_content=text, metadata={"n": n}) for n, text in enumerate(TEXTS)]
    best = reranker.compress_documents(documents, "where is the cat")
    assert len(best) == 2 and best[0].metadata["relevance_score"] >= best[1].metadata["relevance_score"]
    assert "relevance_score" not in documents[0].metadata, "the documents that were given stay as they are"
    assert asyncio.run(reranker.acompress_documents(documents, "where is the cat")) == best


def test_llama_index(tiny, tiny_reranker):
    pytest.importorskip("llama_index.core")
    from llama_index.core import Document, VectorStoreIndex

    from docent.integrations.llama_index import DocentEmbedding, DocentRerank

    model = DocentEmbedding(model_name=str(TINY))
    np.testing.assert_allclose(model.get_text_embedding_batch(TEXTS), tiny.embed_document(TEXTS), atol=1e-7)
    np.testing.assert_allclose(model.get_query_embedding("a river"), tiny.embed_query("a river"), atol=1e-7)
    assert asyncio.run(model.aget_query_embedding("a river")) == model.get_query_embedding("a river")
    assert asyncio.run(model.aget_text_embedding_batch(TEXTS)) == model.get_text_embedding_batch(TEXTS)
    assert model.get_text_embedding("x") == model.get_text_embedding_batch(["x"])[0]
    index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=model)
    nodes = index.as_retriever(similarity_top_k=3).retrieve("where is the cat")
    assert len(nodes) == 3
    best = DocentRerank(model=str(TINY_RERANKER), top_n=2).postprocess_nodes(nodes, query_str="where is the cat")
    expected = tiny_reranker.rerank("where is the cat", [node.node.text for node in nodes], top_n=2)
    assert [node.node.text for node in best] == [nodes[hit.index].node.text for hit in expected]
    assert [node.score for node in best] == [hit.score for hit in expected]
    with pytest.raises(ValueError, match="needs the query"):
        DocentRerank(model=str(TINY_RERANKER)).postprocess_nodes(nodes)


def test_haystack(tiny):
    pytest.importorskip("haystack")
    from haystack import Document, Pipeline
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore

    from docent.integrations.haystack import DocentDocumentEmbedder, DocentRanker, DocentTextEmbedder

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    embedded = DocentDocumentEmbedder(str(TINY)).run(documents=[Document(content=text) for text in TEXTS])["documents"]
    np.testing.assert_allclose(embedded[0].embedding, tiny.embed_document(TEXTS[0]), atol=1e-7)
    store.write_documents(embedded)
    pipeline = Pipeline()
    pipeline.add_component("embedder", DocentTextEmbedder(str(TINY)))
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=3))
    pipeline.add_component("ranker", DocentRanker(str(TINY_RERANKER), top_k=2))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("retriever.documents", "ranker.documents")
    query = "where is the cat"
    found = pipeline.run({"embedder": {"text": query}, "ranker": {"query": query}})["ranker"]["documents"]
    assert len(found) == 2 and found[0].score >= found[1].score
    assert pipeline.to_dict()["components"]["ranker"]["init_parameters"]["top_k"] == 2
