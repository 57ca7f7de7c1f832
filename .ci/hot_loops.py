#!/usr/bin/env python3
"""Look for vector registers spilled in the hot code of the kernels.

usage: hot_loops.py ASSEMBLY [--list]

ASSEMBLY is what `cargo rustc -p docent-kernels --release --lib -- --emit=asm` writes, for x86-64 or 64-bit Arm. Hot code is every basic block, inside a loop
of an entry point (gemm_q8, gemm_f32, gemm_f16, gemm_bf16, attention, coded_attention, relative_attention) of an instruction set with vectors, that contains one of
the multiplications or conversions named below. The check fails if such a block stores more than one vector register to the
stack for every 24 of them (8 in attention and relative_attention), and if an entry point has no such block, which would mean that nothing was checked.

It fails as well if an intrinsic was not inlined: masked attention, whose sums live on the stack between loops, is not searched for spills, and was once
six times slower for such a call.

The compiler, not the source, decides about spills, and nothing but the assembly shows them: a tile that does not fit the
registers is slow, and right.
"""
import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

ENTRY = re.compile(r"^_ZN14docent_kernels(?:6x86_64|7aarch64)\d+(avx2|avx512|avx_vnni|neon_dot|neon)\d+(gemm_q8|gemm_f32|gemm_f16|gemm_bf16|attention|coded_attention|relative_attention)17h\w+E:$")
# An intrinsic that became a function of its own: its caller was compiled without the instruction set, as closures that a library calls are.
LOST = re.compile(r"^_ZN4core9core_arch\w+17h\w+E:$")
LABEL = re.compile(r"^(\.L\w+):")
JUMP = re.compile(r"^\s+(?:j\w+|b(?:\.\w+)?|cbn?z\s+\w+,|tbn?z\s+\w+,\s*#\d+,)\s+(\.L\w+)")
SPILL = re.compile(r"^\s+(?:vmov\S+\s+%[xyz]mm\d+,.*\(%rsp\)|stu?[rp]\s+q\d+,.*\[sp)")
MULTIPLY_FLOAT = ("vfmadd", "fmla")
MULTIPLY = {"gemm_q8": ("vpmaddwd", "vpdpbusd", "vcvtdq2ps", "smlal", "smull", "sdot", "scvtf"), "gemm_f32": MULTIPLY_FLOAT,
            "gemm_f16": MULTIPLY_FLOAT, "gemm_bf16": MULTIPLY_FLOAT, "attention": MULTIPLY_FLOAT,
            "coded_attention": ("vpdpwssd", "vpmaddwd", "smlal"), "relative_attention": MULTIPLY_FLOAT}

# Multiplications for each spill that may be: the tiles for the last rows of a sequence have one in eight on AVX-512, and run once a sequence.
PER_SPILL = {"attention": 8, "relative_attention": 8}


def functions(lines):
    """(instruction set, kernel, its lines) of every entry point."""
    name, body = None, []
    for line in lines:
        found = ENTRY.match(line)
        if found:
            name, body = (found[1], found[2]), []
        elif name and line.startswith(".Lfunc_end"):
            yield *name, body
            name = None
        elif name:
            body.append(line)


def blocks_in_loops(body):
    """(label, lines) of every basic block that lies between a label and a jump back to it."""
    place = {found[1]: i for i, line in enumerate(body) if (found := LABEL.match(line))}
    loops = [(place[found[1]], i) for i, line in enumerate(body)
             if (found := JUMP.match(line)) and place.get(found[1], i) < i]
    label, block, start = "", [], 0
    for i, line in enumerate([*body, ".Lend:"]):
        if found := LABEL.match(line):
            if block and any(first <= start and i - 1 <= last for first, last in loops):
                yield label, block
            label, block, start = found[1], [], i
        elif not line.lstrip().startswith((".", "#", "//")):
            block.append(line)
            if JUMP.match(line):
                if any(first <= start and i <= last for first, last in loops):
                    yield label, block
                block, start = [], i + 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assembly", type=Path)
    parser.add_argument("--list", action="store_true", help="print the size and the spills of every hot block")
    arguments = parser.parse_args()
    checked, spills = defaultdict(int), []
    for isa, kernel, body in functions(arguments.assembly.read_text().splitlines()):
        for label, block in blocks_in_loops(body):
            multiplications = sum(any(name in line for name in MULTIPLY[kernel]) for line in block)
            if multiplications == 0:
                continue
            checked[isa, kernel] += 1
            found = [line.strip() for line in block if SPILL.match(line)]
            if arguments.list:
                print(f"{isa:10} {kernel:10} {label:12} {len(block):4} instructions, {multiplications:3} multiplications, {len(found)} spills")
            if len(found) > multiplications / PER_SPILL.get(kernel, 24):
                spills += [f"{isa} {kernel} {label}: {line}" for line in found]
    expected = {(isa, kernel) for isa, _ in checked for kernel in MULTIPLY}
    missing = expected - checked.keys()
    for isa, kernel in sorted(missing):
        print(f"{isa} {kernel}: no hot code found")
    lost = [line for line in arguments.assembly.read_text().splitlines() if LOST.match(line)]
    print("\n".join([*spills[:40], *(f"not inlined: {name}" for name in lost)]))
    print(f"{sum(checked.values())} hot blocks of {len(checked)} kernels, {len(spills)} spills too many")
    sys.exit(bool(missing or spills or lost or not checked))


main()
