#!/usr/bin/env python3
"""Makes the seed files from which the fuzzers start: `python3 fuzz/make_seeds.py`, no packages needed.

The seeds are small files, each with one feature of its format, so that the fuzzers have every path to vary from the first
second. They are made from the specifications, not with Docent's own writer, and can therefore serve as examples of the
formats, too.
"""
import json
import struct
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds"


def text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def array(kind: int, elements: list) -> bytes:
    return struct.pack("<IQ", kind, len(elements)) + b"".join(elements)


def tensor(name: str, dims: list, kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def gguf(entries=(), tensors=(), data=b"", version=3, alignment=32) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries)) + b"".join(entries) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data


def gguf_seeds() -> dict:
    scalars = [
        ("B", 0, 200), ("b", 1, -3), ("H", 2, 60000), ("h", 3, -3), ("I", 4, 7), ("i", 5, -7),
        ("f", 6, 0.5), ("B", 7, 1), ("Q", 10, 1 << 40), ("q", 11, -(1 << 40)), ("d", 12, 1e300),
    ]
    values = [entry(f"k{kind}", kind, struct.pack("<" + code, value)) for code, kind, value in scalars]
    arrays = [
        entry(f"a{kind}", 9, array(kind, [struct.pack("<" + code, value)] * 3)) for code, kind, value in scalars
    ]
    floats = struct.pack("<4f", 0.0, 1.0, -2.5, float("inf"))
    halves = struct.pack("<4e", 0.0, 1.0, -2.5, 6e-8)
    q8_0 = struct.pack("<e32b", 0.125, *range(-16, 16))
    return {
        "empty": gguf(),
        "version2": gguf([entry("k", 8, text("v"))], version=2),
        "scalars": gguf(values),
        "arrays": gguf(arrays),
        "texts": gguf([entry("general.name", 8, text("naïve 日本")), entry("t", 9, array(8, [text("a"), text(""), text("ü")]))]),
        "nested": gguf([entry("n", 9, array(9, [array(0, [b"\1"])]))]),
        "aligned": gguf(
            [entry("general.alignment", 4, struct.pack("<I", 64))],
            [tensor("a", [4], 0, 0), tensor("b", [2, 2], 1, 64)],
            floats.ljust(64, b"\0") + halves, alignment=64,
        ),
        "types": gguf(
            [], [tensor("f32", [4], 0, 0), tensor("f16", [2, 2], 1, 32), tensor("bf16", [4, 1, 1, 1], 30, 64),
                 tensor("q8_0", [32, 2], 8, 96), tensor("q4_0", [32], 2, 192), tensor("i8", [3], 24, 224)],
            floats.ljust(32, b"\0") + halves.ljust(32, b"\0") + halves.ljust(32, b"\0") + (q8_0 * 2).ljust(96, b"\0")
            + bytes(32) + b"abc",
        ),
        "removed": gguf([], [tensor("t", [32], 4, 0)], bytes(64)),
        "overlap": gguf([], [tensor("a", [16], 0, 0), tensor("b", [4], 0, 32)], bytes(64)),
        "split": gguf([entry("split.no", 2, b"\0\0"), entry("split.count", 2, b"\3\0"),
                       entry("split.tensors.count", 5, struct.pack("<i", 1))], [tensor("t", [1], 0, 0)], bytes(4)),
    }


def safetensors(header: object, data: bytes = b"") -> bytes:
    encoded = (header if isinstance(header, str) else json.dumps(header, separators=(",", ":"))).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def safetensors_seeds() -> dict:
    def one(dtype: str, shape: list, begin: int, end: int) -> dict:
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    return {
        "empty": safetensors({}),
        "metadata": safetensors({"__metadata__": {"format": "pt"}}),
        "f32": safetensors({"w": one("F32", [2, 2], 0, 16)}, bytes(16)),
        "many": safetensors(
            {"a.weight": one("F16", [2], 0, 4), "b.weight": one("BF16", [2, 1], 4, 8), "ids": one("I64", [1], 8, 16),
             "none": one("F32", [0], 16, 16), "scalar": one("U8", [], 16, 17)}, bytes(17)),
        "padded": safetensors('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}      ', bytes(4)),
        "overlap": safetensors({"a": one("F32", [1], 0, 4), "b": one("F32", [1], 2, 6)}, bytes(6)),
        "hole": safetensors({"a": one("F32", [1], 4, 8)}, bytes(8)),
        "short": safetensors({"a": one("F32", [1 << 40], 0, 1 << 42)}, bytes(4)),
        "overflow": safetensors({"a": one("F32", [1 << 62, 1 << 62], 0, 4)}, bytes(4)),
        "length": struct.pack("<Q", 2**63) + b"{}",
    }


def main() -> None:
    for target, seeds in [("gguf_header", gguf_seeds()), ("safetensors_header", safetensors_seeds())]:
        folder = SEEDS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, contents in seeds.items():
            (folder / name).write_bytes(contents)


if __name__ == "__main__":
    main()
