"""Bad input: an exception of the expected type that says what is wrong, and an interpreter that lives on."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from conftest import TINY

import docent


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (None, "texts must be a str or an iterable of str, not NoneType"),
        (b"bytes", 'texts must be .* not bytes: decode it first, as in text.decode\\("utf-8"\\)'),
        (bytearray(b"x"), "not bytearray"),
        (3, "not int"),
        (1.5, "not float"),
        ({"a": 1}, "not dict: pass its values"),
        (["a", None], r"texts\[1\] must be a str, not NoneType"),
        (["a", b"b"], r"texts\[1\] must be a str, not bytes: decode it first"),
        ([["a"], ["b"]], r"texts\[0\] must be a str, not list"),
        ([("a", "b")], r"texts\[0\] must be a str, not tuple"),
        (np.zeros((2, 3), np.float32), r"texts\[0\] must be a str, not ndarray"),
        (np.arange(3), r"texts\[0\] must be a str, not .*int64"),
        (np.array(["a", 1.5], dtype=object), r"texts\[1\] must be a str, not float"),
        (np.array([["a", "b"]]), r"texts\[0\] must be a str, not ndarray"),
        (object(), "not object"),
    ],
)
def test_what_is_no_text(tiny, texts, message):
    for call in (tiny.embed, tiny.embed_detailed, tiny.embed_tokens, tiny.count_tokens, lambda texts: list(tiny.embed_iter(texts))):
        with pytest.raises(TypeError, match=message):
            call(texts)


def test_half_a_surrogate_pair_is_no_text(tiny):
    with pytest.raises(UnicodeEncodeError, match=r"in texts\[1\]"):
        tiny.embed(["fine", "broken \ud800"])


def test_odd_texts_are_texts(tiny):
    texts = ["", " ", "\0", "\n\r\t", "a\0b", "\U0001f600" * 50, "\u202e", "e\u0301" * 40, "\ufeff", "x" * 5000]
    result = tiny.embed_detailed(texts)
    assert np.isfinite(result.vectors).all() and result.vectors.shape == (len(texts), 96)


def test_a_huge_text(tiny):
    text = "the cat sat on the mat " * 2_000_000  # 46 MB
    result = tiny.embed_detailed([text, "x"])
    assert result.tokens[0] == 96 and result.dropped[0] > 1_000_000
    assert np.array_equal(result.vectors[1], tiny.embed("x"))


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dim": 0}, docent.OptionError, "dim must be at least 1, got 0"),
        ({"dim": -3}, docent.OptionError, "dim must be at least 1, got -3"),
        ({"dim": 97}, docent.OptionError, "cannot cut vectors to 97 components: the model bert-tiny makes 96"),
        ({"dim": 1.5}, TypeError, "dim must be an int, not float"),
        ({"max_length": 2}, docent.OptionError, "a maximum length of 2 tokens is out of range"),
        ({"max_length": 10**6}, docent.OptionError, "out of range: the model bert-tiny takes 3 to 128"),
        ({"pooling": "average"}, docent.OptionError, "pooling must be one of cls, mean, max, last, none"),
        ({"truncate": "middle"}, docent.OptionError, "truncate must be one of right, left, error"),
        ({"prompt": 3}, TypeError, "prompt must be a str, not int"),
        ({"normalize": "yes"}, TypeError, "normalize must be a bool, not str"),
    ],
)
def test_options_out_of_range(tiny, options, kind, message):
    with pytest.raises(kind, match=message):
        tiny.embed(["a"], **options)
    with pytest.raises(kind, match=message):
        docent.Embedder(TINY, **options)
    with pytest.raises(TypeError, match="unexpected keyword"):
        tiny.embed(["a"], dimension=3)


def test_batch_size(tiny):
    with pytest.raises(docent.OptionError, match="batch_size must be at least 1, got 0"):
        next(tiny.embed_iter(["a"], batch_size=0))


@pytest.mark.parametrize(
    ("model", "kinds", "message"),
    [
        ("/no/where.gguf", (docent.ModelNotFoundError, FileNotFoundError, OSError), "no model at /no/where.gguf"),
        ("bge-smal-en-v1.5", (docent.ModelNotFoundError, FileNotFoundError), "did you mean bge-small-en-v1.5"),
        ("", (docent.ModelNameError, ValueError), "the name of a model is empty"),
        ("hf:nothing", (docent.ModelNameError, ValueError), "is not hf:USER/REPO"),
        ("ms-marco-MiniLM-L6-v2", (docent.ModelKindError, ValueError), "is a reranker, not an embedding model"),
    ],
)
def test_models_that_are_not_there(model, kinds, message):
    for kind in (*kinds, docent.DocentError):
        with pytest.raises(kind, match=message):
            docent.Embedder(model)


def test_models_of_the_wrong_type():
    for wrong in (None, 3, b"path", ["a"]):
        with pytest.raises(TypeError, match="model must be a str or a path"):
            docent.Embedder(wrong)


def test_options_of_opening():
    for options, message in (
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"quant": "Q9"}, "Q9"),
        ({"device": "cuda"}, "device must be 'cpu', got 'cuda'"),
    ):
        with pytest.raises(docent.OptionError, match=message):
            docent.Embedder(TINY, **options)
    assert docent.Embedder(TINY, device="cpu", threads=10**6).threads <= 64
    with pytest.raises(TypeError):
        docent.Embedder(TINY, threads="two")


def test_offline_means_offline(script):
    outcome = script(
        """
        try:
            docent.Embedder("hf:nobody/nothing", offline=True)
        except docent.OfflineError as error:
            assert isinstance(error, (docent.DownloadError, OSError)), type(error)
            print(error)
        """
    )
    assert "is not in the cache and Docent is offline" in outcome.stdout, outcome.stderr


def test_damaged_files(tmp_path):
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(docent.ModelFileError, match="x.gguf") as error:
        docent.Embedder(file)
    assert isinstance(error.value, ValueError)
    (tmp_path / "empty").mkdir()
    with pytest.raises(docent.DocentError, match="empty"):
        docent.Embedder(tmp_path / "empty")
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"bert"', '"mamba"'))
    with pytest.raises(docent.UnsupportedModelError, match="mamba.* is not supported"):
        docent.Embedder(folder)


def test_nothing_of_it_ends_the_interpreter(tiny):
    assert tiny.embed("hello world").shape == (96,)
