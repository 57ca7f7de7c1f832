"""Embed a Parquet data set with Ray Data: one Embedder per actor, shard by shard, resumable.

    python ray_data.py INPUT OUTPUT [--model MODEL] [--actors N] [--threads N]

INPUT is a folder of Parquet files with a column ``text``; OUTPUT gets a folder for each of them, with all its columns and ``vector``
(a list of float32), ``tokens`` and ``dropped``. A shard is written beside its place and moved there when it is whole, so that a job
which was killed goes on where it stopped: run it again.
"""

import argparse
import shutil
from pathlib import Path

import ray


class Embed:
    """What an actor holds: the model, opened once."""

    def __init__(self, model, threads):
        import docent

        self.embedder = docent.Embedder(model, threads=threads, prompt_name="document")

    def __call__(self, batch):
        result = self.embedder.embed_detailed(batch["text"])
        batch["vector"], batch["tokens"], batch["dropped"] = list(result.vectors), result.tokens, result.dropped
        return batch


def embed_shard(shard, place, model, actors, threads):
    """Embeds one Parquet file into a folder."""
    unfinished = place.with_name(place.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    rows = ray.data.read_parquet(str(shard))
    embedded = rows.map_batches(
        Embed,
        fn_constructor_args=(model, threads),
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=threads,
        batch_size=1024,
    )
    embedded.write_parquet(str(unfinished))
    unfinished.rename(place)


def run(source, target, model, actors=1, threads=1):
    """Embeds the shards that are not done yet, and returns their names."""
    target.mkdir(parents=True, exist_ok=True)
    todo = [shard for shard in sorted(source.glob("*.parquet")) if not (target / shard.stem).exists()]
    for shard in todo:
        embed_shard(shard, target / shard.stem, model, actors, threads)
    return [shard.stem for shard in todo]


def main():
    arguments = argparse.ArgumentParser(description="Embed Parquet files with Ray Data.")
    arguments.add_argument("source", type=Path)
    arguments.add_argument("target", type=Path)
    arguments.add_argument("--model", default="all-MiniLM-L6-v2")
    arguments.add_argument("--actors", type=int, default=1)
    arguments.add_argument("--threads", type=int, default=1, help="threads of an actor")
    given = arguments.parse_args()
    done = run(given.source, given.target, given.model, given.actors, given.threads)
    print(f"{len(done)} shards embedded: {', '.join(done) or 'nothing was left to do'}")


if __name__ == "__main__":
    main()
