"""Embed a Parquet data set with Daft: a class whose instances hold the model, one a worker.

    python daft_udf.py INPUT OUTPUT [--model MODEL]

INPUT is a Parquet file or a glob with a column ``text``; OUTPUT a folder of Parquet files with the column ``vector`` besides.
"""

import argparse

import daft
from daft import DataType, Series


@daft.cls(max_concurrency=1)
class Embed:
    """What a worker holds: the model, opened at its first batch."""

    def __init__(self, model: str):
        import docent

        self.embedder = docent.Embedder(model, prompt_name="document")

    @daft.method.batch(return_dtype=DataType.list(DataType.float32()))
    def __call__(self, texts: Series):
        return self.embedder.embed(texts.to_pylist()).tolist()


def run(source, target, model):
    """Embeds the column ``text`` of the Parquet files, and returns the number of rows."""
    rows = daft.read_parquet(source)
    embedded = rows.with_column("vector", Embed(model)(rows["text"]))
    embedded.write_parquet(target)
    return daft.read_parquet(f"{target}/*.parquet").count_rows()


def main():
    arguments = argparse.ArgumentParser(description="Embed Parquet files with Daft.")
    arguments.add_argument("source")
    arguments.add_argument("target")
    arguments.add_argument("--model", default="all-MiniLM-L6-v2")
    given = arguments.parse_args()
    print(f"{run(given.source, given.target, given.model)} rows embedded")


if __name__ == "__main__":
    main()
