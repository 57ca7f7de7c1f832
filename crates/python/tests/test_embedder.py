"""``docent.Embedder``: vectors, options, generators, truncation, progress, pickling."""

from __future__ import annotations

import itertools
import json
import pickle
import warnings

import numpy as np
import pytest
from conftest import TINY

import docent


def test_vectors_are_those_of_transformers(tiny):
    reference = json.loads((TINY / "reference.json").read_text())
    for case in reference["cases"]:
        options = {"prompt": case.get("prompt") or "", "max_length": case["max_length"]}
        vector = tiny.embed_detailed([case["text"]], **options).vectors[0]
        np.testing.assert_allclose(vector, case["normalised"]["mean"], atol=1e-5)


def test_shapes_and_types(tiny):
    vectors = tiny.embed(["hello world", "x"])
    assert vectors.shape == (2, 96) and vectors.dtype == np.float32 and vectors.flags.c_contiguous
    assert tiny.embed("hello world").shape == (96,)
    assert tiny.embed([]).shape == (0, 96)
    assert tiny.embed([""]).shape == (1, 96)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    vectors[0, 0] = 7  # the caller's own memory
    assert tiny.embed(["hello world"])[0, 0] != 7


def test_texts_may_come_from_anywhere(tiny):
    texts = ["hello world", "the cat", "x"]
    expected = tiny.embed(texts)
    for source in (tuple(texts), iter(texts), (text for text in texts), dict.fromkeys(texts).keys(), np.array(texts)):
        assert np.array_equal(tiny.embed(source), expected)

    class Text(str):
        pass

    assert np.array_equal(tiny.embed([Text(text) for text in texts]), expected)


def test_a_vector_does_not_depend_on_its_batch(tiny):
    texts = [("word " * (1 + index % 25)).strip() for index in range(700)]
    together = tiny.embed(texts)
    for index in (0, 1, 24, 511, 512, 699):
        assert np.array_equal(together[index], tiny.embed(texts[index]))


def test_prompts(tiny):
    assert tiny.prompts == {"query": "query: ", "document": "the text is: "}
    plain = tiny.embed("query: hello")
    for same in (
        tiny.embed_query("hello"),
        tiny.embed("hello", prompt="query: "),
        tiny.embed("hello", prompt_name="query"),
        docent.Embedder(TINY, prompt_name="query").embed("hello"),
        docent.Embedder(TINY, prompt_name="query").embed("query: hello", prompt=""),
        docent.Embedder(TINY, prompt="nothing").embed("hello", prompt_name="query"),
    ):
        assert np.array_equal(same, plain)
    assert np.array_equal(tiny.embed_document(["hello"])[0], tiny.embed("the text is: hello"))
    assert np.array_equal(tiny.embed("hello", prompt_name="none"), tiny.embed("hello"))
    with pytest.raises(docent.OptionError, match="exclude each other"):
        tiny.embed("x", prompt="a", prompt_name="query")
    with pytest.raises(ValueError, match="prompt_name must be one of default, none, query, document, got"):
        tiny.embed("x", prompt_name="passage")


def test_dim_normalize_and_pooling(tiny):
    whole = tiny.embed("hello world", normalize=False)
    cut = tiny.embed("hello world", dim=32)
    np.testing.assert_allclose(cut, whole[:32] / np.linalg.norm(whole[:32]), atol=1e-6)
    assert docent.Embedder(TINY, dim=32).dim == 32
    assert docent.Embedder(TINY, dim=32).embed(["a"]).shape == (1, 32)
    tokens = tiny.embed_tokens(["hello world", "x"])
    assert [rows.shape for rows in tokens] == [(4, 96), (3, 96)]
    np.testing.assert_allclose(tiny.embed("hello world", pooling="cls", normalize=False), tokens[0][0], atol=1e-6)
    np.testing.assert_allclose(whole, tokens[0].mean(axis=0), atol=1e-5)
    with pytest.raises(docent.OptionError, match="call embed_tokens"):
        tiny.embed("x", pooling="none")


def test_truncation_is_told_of(tiny):
    long = "word " * 500
    result = tiny.embed_detailed([long, "short"])
    assert result.tokens.tolist() == [96, len(tiny.tokenize("short"))]
    assert result.dropped[0] == tiny.count_tokens([long])[0] - 96 and result.dropped[1] == 0
    assert result.truncated.tolist() == [True, False]
    for call in (tiny.embed, tiny.embed_document, tiny.embed_tokens, lambda texts: list(tiny.embed_iter(texts))):
        with pytest.warns(docent.TruncationWarning, match="^1 of 2 texts truncated to 96 tokens$") as record:
            call([long, "short"])
        assert record[0].filename == __file__, "the warning shows the caller's line"
    with pytest.raises(docent.TextTooLongError, match="text 600 has .* tokens, more than the 96 allowed") as error:
        tiny.embed(["a"] * 600 + [long], truncate="error")
    assert (error.value.index, error.value.max_length) == (600, 96)
    assert error.value.tokens == tiny.count_tokens([long])[0]
    left = tiny.embed_detailed(["first " + long + "last"], truncate="left").vectors[0]
    assert not np.array_equal(left, tiny.embed_detailed(["first " + long + "last"]).vectors[0])


def test_a_generator_takes_texts_when_they_are_wanted(tiny):
    taken = itertools.count()
    endless = (f"text {next(taken)}" for _ in itertools.count())
    vectors = tiny.embed_iter(endless, batch_size=8)
    assert next(taken) == 0, "nothing is taken before the first next()"
    first = list(itertools.islice(vectors, 3))
    assert next(taken) == 9
    assert first[0].shape == (96,) and np.array_equal(first[2], tiny.embed("text 3"))
    list(itertools.islice(vectors, 6))
    assert next(taken) == 18
    assert [row.shape for row in tiny.embed_iter("one text")] == [(96,)]
    assert list(tiny.embed_iter([])) == []


def test_a_row_of_a_generator_does_not_keep_its_batch(tiny):
    row = next(tiny.embed_iter(["a"] * 256))
    assert row.base is None and row.nbytes == 96 * 4


def test_what_an_iterable_raises_comes_through(tiny):
    def texts():
        yield "fine"
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        tiny.embed(texts())
    vectors = tiny.embed_iter(texts(), batch_size=1)
    next(vectors)
    with pytest.raises(RuntimeError, match="the source broke"):
        next(vectors)
    assert tiny.embed("still works").shape == (96,)


def test_progress(tiny, capfd):
    steps = []
    tiny.embed(["a"] * 1200, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (1200, 1200) and len(steps) > 1 and steps == sorted(steps)
    steps.clear()
    list(tiny.embed_iter(iter(["a"] * 20), batch_size=8, progress=lambda done, total: steps.append((done, total))))
    assert steps == [(8, None), (16, None), (20, None)]
    tiny.embed(["a"], progress=True)
    out, err = capfd.readouterr()
    assert out == "" and err.endswith("1/1 texts\x1b[K\n")

    def stop(done, total):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        tiny.embed(["a"] * 1200, progress=stop)
    with pytest.raises(TypeError, match="progress must be a bool or callable"):
        tiny.embed(["a"], progress=3)


def test_tokens(tiny):
    ids = tiny.tokenize("hello world")
    assert ids == [4, 915, 241, 5] and tiny.tokenize("hello world", special=False) == [915, 241]
    assert tiny.decode(ids) == "hello world"
    assert tiny.count_tokens(["hello world", ""]).tolist() == [4, 2]
    with pytest.raises(ValueError, match="4000000000"):
        tiny.decode([4000000000])
    with pytest.raises(TypeError):
        tiny.tokenize(b"bytes")


def test_facts(tiny):
    assert (tiny.dim, tiny.max_length, tiny.name) == (96, 96, "bert-tiny")
    assert tiny.path == str(TINY) and tiny.threads >= 1
    assert tiny.settings["architecture"] == "bert" and tiny.settings["pooling"] == "mean"
    assert repr(tiny) == f"Embedder({str(TINY)!r}, dim=96, max_length=96, threads={tiny.threads})"
    assert docent.Embedder(TINY, threads=1).threads == 1


def test_a_pickled_embedder_gives_the_same_vectors():
    embedder = docent.Embedder(TINY, threads=1, dim=32, prompt_name="query")
    again = pickle.loads(pickle.dumps(embedder))
    assert np.array_equal(again.embed("hello"), embedder.embed("hello")) and again.threads == 1


def test_the_number_of_threads_does_not_matter():
    texts = ["hello world " * 20, "x"] * 40
    vectors = [docent.Embedder(TINY, threads=threads).embed(texts) for threads in (1, 2, 3)]
    assert np.array_equal(vectors[0], vectors[1]) and np.array_equal(vectors[0], vectors[2])


def test_warnings_of_the_library_go_to_logging(script):
    outcome = script(
        """
        import logging, shutil, tempfile
        folder = tempfile.mkdtemp() + "/model"
        shutil.copytree(TINY, folder)
        os.remove(folder + "/modules.json")
        shutil.rmtree(folder + "/1_Pooling")
        records = []
        logging.getLogger("docent").addFilter(lambda record: records.append(record.getMessage()))
        docent.Embedder(folder)
        assert any("do not say how to pool" in record for record in records), records
        """
    )
    assert outcome.returncode == 0, outcome.stderr


def test_no_warning_without_truncation(tiny):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.embed(["a", "b"])


def test_the_catalogue():
    names = {model["name"] for model in docent.models("embedding")}
    assert "all-MiniLM-L6-v2" in names and "bge-reranker-v2-m3" not in names
    assert docent.find_model("baai/BGE-small-en-v1.5")["dim"] == 384
    assert docent.find_model("nothing") is None
    assert docent.default_threads() >= 1
