#!/usr/bin/env python3
"""Cuts llama.cpp's vocabulary files to the tokens that its own test texts can touch, so that they can live here.

    python make_cut_vocabularies.py FOLDER

FOLDER has ggml-vocab-{gpt-2,llama-spm,qwen2}.gguf with their .out files. A token is kept if it occurs
in a text, a merge if its result does: nothing else can take part in the way of these texts to tokens. `docent.original_ids`
maps the new ids to the old. Needs gguf.
"""
import shutil
import sys
from pathlib import Path

from gguf import GGUFReader, GGUFWriter

HERE = Path(__file__).parent
SEPARATOR = "\n__ggml_vocab_test__\n"


def alphabet():
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def strings(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def numbers(reader, key):
    field = reader.fields[key]
    return [field.parts[i][0].item() for i in field.data]


def cut(folder, name):
    path = folder / f"ggml-vocab-{name}.gguf"
    reader = GGUFReader(path)
    texts = (HERE / "ggml-vocab-bert-bge.gguf.inp").read_bytes().decode().split(SEPARATOR)
    tokens, types = strings(reader, "tokenizer.ggml.tokens"), numbers(reader, "tokenizer.ggml.token_type")
    model = strings(reader, "tokenizer.ggml.model")[0]
    scores = numbers(reader, "tokenizer.ggml.scores") if model != "gpt2" else None
    merges, out = [], HERE / f"{name}.out"
    keep = {i for i, (t, y) in enumerate(zip(tokens, types)) if (y in (2, 3) and i % 16 < 4) or y == 6}
    if model == "gpt2":
        letters = alphabet()
        seen = "\n".join("".join(letters[b] for b in t.encode()) for t in texts)
        keep |= {i for i, t in enumerate(tokens) if t in letters.values()}
        merges = [m for m in strings(reader, "tokenizer.ggml.merges") if "".join(m.split(" ", 1)) in seen]
        parts = {p for m in merges for p in m.split(" ", 1)}
        keep |= {i for i, t in enumerate(tokens) if t in parts}
        shutil.copy(path.with_suffix(".gguf.out"), out)
    else:
        seen = "\0".join("▁" + t.replace(" ", "▁") for t in texts)
        shutil.copy(path.with_suffix(".gguf.out"), out)
    keep |= {i for i, (t, y) in enumerate(zip(tokens, types)) if y in (1, 4) and t in seen}
    keep = sorted(keep)
    old = {i: n for n, i in enumerate(keep)}
    writer = GGUFWriter(HERE / f"{name}.gguf", strings(reader, "general.architecture")[0])
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(strings(reader, "tokenizer.ggml.pre")[0])
    writer.add_token_list([t if y != 5 else f"[PAD{old[i]}]" for i in keep for t, y in [(tokens[i], types[i])]])
    writer.add_token_types([types[i] for i in keep])
    if scores:
        writer.add_token_scores([scores[i] for i in keep])
    if merges:
        writer.add_token_merges(merges)
    for key, field in reader.fields.items():
        value = field.parts[-1][0].item() if key.startswith("tokenizer.ggml.") and len(field.data) == 1 else None
        if key.endswith("_token_id") and value in old:
            writer.add_uint32(key, old[value])
        elif isinstance(value, bool) or key.rsplit(".")[-1] in ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces"):
            writer.add_bool(key, bool(value))
    writer.add_array("docent.original_ids", keep)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    print(name, len(keep), "tokens", len(merges), "merges", (HERE / f"{name}.gguf").stat().st_size, "bytes")


if __name__ == "__main__":
    for one in ("gpt-2", "llama-spm", "qwen2"):
        cut(Path(sys.argv[1]), one)
