"""The examples do what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER


EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
TEXTS = [f"text number {index} about a river" for index in range(60)]


def example(name, *arguments, fails=False):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert fails or outcome.returncode == 0, outcome.stderr
    return outcome


def write_parquet(path, texts):
    import pyarrow as arrow
    import pyarrow.parquet

    table = arrow.table({"id": [f"{path.stem}-{index}" for index in range(len(texts))], "text": texts})
    arrow.parquet.write_table(table, path)


def read_parquet(folder):
    import pyarrow.parquet

    return {row["id"]: row for row in pyarrow.parquet.read_table(folder).to_pylist()}


def test_search_notes(tmp_path):
    pytest.importorskip("chromadb")
    notes, store = tmp_path / "notes", tmp_path / "store"
    (notes / "deep").mkdir(parents=True)
    (notes / "cats.md").write_text("# Cats\n\nThe cat sat on the mat.\n\n## Food\n\nCats eat fish.\n")
    (notes / "deep" / "rivers.md").write_text("A river runs through the city.\n")
    indexed = example("search_notes.py", "index", notes, store, "--model", TINY)
    assert indexed.stdout == "3 sections added, 0 removed\n"
    (notes / "cats.md").write_text("# Cats\n\nThe cat sat on the mat.\n\n## Food\n\nCats eat mice.\n")
    assert example("search_notes.py", "index", notes, store, "--model", TINY).stdout == "1 sections added, 1 removed\n"
    assert example("search_notes.py", "index", notes, store, "--model", TINY).stdout == "0 sections added, 0 removed\n"
    found = example("search_notes.py", "search", store, "where is the cat", "--reranker", TINY_RERANKER).stdout
    lines = found.splitlines()
    assert len(lines) == 3 and {line.split(":")[0][6:] for line in lines} == {"cats.md", "deep/rivers.md"}
    scores = [float(line.split()[0]) for line in lines]
    assert scores == sorted(scores, reverse=True)


def test_ray_data(tmp_path, tiny):
    pytest.importorskip("ray")
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for shard in ("a", "b", "c"):
        write_parquet(source / f"{shard}.parquet", [f"{shard} {text}" for text in TEXTS])
    # The second shard breaks the job, as a machine that goes away would: what was done stays done.
    broken = (source / "b.parquet").read_bytes()
    (source / "b.parquet").write_bytes(broken[:100])
    assert example("ray_data.py", source, target, "--model", TINY, fails=True).returncode != 0
    assert [place.name for place in sorted(target.iterdir()) if not place.name.endswith(".unfinished")] == ["a"]
    (source / "b.parquet").write_bytes(broken)
    assert example("ray_data.py", source, target, "--model", TINY).stdout.endswith("2 shards embedded: b, c\n")
    for shard in ("a", "b", "c"):
        rows = read_parquet(target / shard)
        assert len(rows) == len(TEXTS)
        for index in (0, 59):
            row = rows[f"{shard}-{index}"]
            assert np.array_equal(np.float32(row["vector"]), tiny.embed_document(row["text"]))
            assert row["tokens"] > 0 and row["dropped"] == 0
    assert "nothing was left to do" in example("ray_data.py", source, target, "--model", TINY).stdout


def test_daft(tmp_path, tiny):
    pytest.importorskip("daft")
    write_parquet(tmp_path / "in.parquet", TEXTS)
    done = example("daft_udf.py", tmp_path / "in.parquet", tmp_path / "out", "--model", TINY)
    assert done.stdout.endswith("60 rows embedded\n")
    rows = read_parquet(tmp_path / "out")
    vectors = np.array([rows[f"in-{index}"]["vector"] for index in range(60)], np.float32)
    assert np.array_equal(vectors, tiny.embed_document(TEXTS))


