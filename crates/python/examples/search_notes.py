"""Search a folder of Markdown files by meaning: Chroma keeps the vectors, a reranker orders what they find.

    python search_notes.py index FOLDER STORE [--model MODEL]
    python search_notes.py search STORE "QUERY" [--reranker MODEL]

A file is cut at its headings. ``index`` may be run again: what has not changed is not embedded again, what is gone is removed.
"""

import argparse
import hashlib
import re
from pathlib import Path

import chromadb

import docent
from docent.integrations.chromadb import DocentEmbeddingFunction


def sections(text):
    """The parts of a Markdown text, each from a heading to the next."""
    parts = re.split(r"^(?=#{1,6} )", text, flags=re.MULTILINE)
    return [part.strip() for part in parts if part.strip()]


def index(folder, store, model):
    """Brings the store up to date and returns how many sections were added and removed."""
    client = chromadb.PersistentClient(str(store))
    notes = client.get_or_create_collection("notes", embedding_function=DocentEmbeddingFunction(model))
    found = {}
    for path in sorted(Path(folder).rglob("*.md")):
        name = str(path.relative_to(folder))
        for place, section in enumerate(sections(path.read_text(encoding="utf-8"))):
            key = hashlib.sha256(f"{name}\0{place}\0{section}".encode()).hexdigest()
            found[key] = (section, {"path": name, "place": place})
    present = set(notes.get(include=[])["ids"])
    new, gone = [key for key in found if key not in present], sorted(present - set(found))
    for start in range(0, len(new), 512):
        keys = new[start : start + 512]
        notes.add(ids=keys, documents=[found[key][0] for key in keys], metadatas=[found[key][1] for key in keys])
    if gone:
        notes.delete(ids=gone)
    return len(new), len(gone)


def search(store, query, reranker, candidates=30, top_n=5):
    """The best sections: path, score and text of each, best first."""
    notes = chromadb.PersistentClient(str(store)).get_collection("notes")
    found = notes.query(query_texts=[query], n_results=min(candidates, notes.count()))
    texts, facts = found["documents"][0], found["metadatas"][0]
    ranked = reranker.rerank(query, texts, top_n=top_n)
    return [(facts[hit.index]["path"], hit.score, texts[hit.index]) for hit in ranked]


def main():
    arguments = argparse.ArgumentParser(description="Search a folder of Markdown files by meaning.")
    commands = arguments.add_subparsers(dest="command", required=True)
    indexing = commands.add_parser("index")
    indexing.add_argument("folder", type=Path)
    indexing.add_argument("store", type=Path)
    indexing.add_argument("--model", default="all-MiniLM-L6-v2")
    searching = commands.add_parser("search")
    searching.add_argument("store", type=Path)
    searching.add_argument("query")
    searching.add_argument("--reranker", default="ms-marco-MiniLM-L6-v2")
    given = arguments.parse_args()
    if given.command == "index":
        added, removed = index(given.folder, given.store, given.model)
        print(f"{added} sections added, {removed} removed")
    else:
        for path, score, text in search(given.store, given.query, docent.Reranker(given.reranker)):
            print(f"{score:.3f} {path}: {text.splitlines()[0]}")


if __name__ == "__main__":
    main()
