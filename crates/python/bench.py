"""Vectors per second from Python: beside Docent's own command, and beside other libraries.

    python bench.py command --docent target/release/docent                # Python against the command line
    python bench.py peers --model minilm/ --gguf minilm-q8_0.gguf --onnx minilm-onnx/     # against the other libraries

Both run in turn, round by round, so that what else the machine does meets all alike; what is printed are ratios of medians.
Each library runs in a process of its own, in the interpreter that this script runs in; those that cannot be imported are left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


def texts(copies: int) -> list[str]:
    """The texts of fixtures/minilm that no library cuts, so many times."""
    lines = (FIXTURES / "minilm" / "texts.jsonl").read_text(encoding="utf-8").splitlines()
    short = [text for text in (json.loads(line)["text"] for line in lines) if 0 < len(text) <= 400]
    return short * copies


# ---- Python against the command line


def cpu_seconds(command: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a command, from its start to its end."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


FROM_PYTHON = """
import sys, docent, json, numpy
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
numpy.save(sys.argv[2], docent.Embedder(sys.argv[3], threads=1).embed(texts))
"""


def compare_with_command(options: argparse.Namespace) -> None:
    """The same file of texts to the same .npy file, on one thread, by the command and by a Python program.

    What is compared is the difference between a long and a short file: starting and opening the model are not in it.
    """
    seconds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "out.npy")
        for copies in (options.copies, 3 * options.copies):
            lines = "".join(json.dumps({"text": text}) + "\n" for text in texts(copies))
            Path(folder, f"{copies}.jsonl").write_text(lines, encoding="utf-8")
        for _ in range(options.rounds):
            for copies in (options.copies, 3 * options.copies):
                file = str(Path(folder) / f"{copies}.jsonl")
                command = [options.docent, "embed", "-m", options.model, "--threads", "1", "--input", file, "-o", out]
                python = [sys.executable, "-W", "ignore", "-c", FROM_PYTHON, file, out, options.model]
                seconds.setdefault(("command", copies), []).append(cpu_seconds(command))
                seconds.setdefault(("python", copies), []).append(cpu_seconds(python))

    def difference(who: str, which: int) -> float:
        long, short = ([both[which] for both in seconds[who, copies]] for copies in (3 * options.copies, options.copies))
        return statistics.median(long) - statistics.median(short)

    for which, name in enumerate(("wall clock", "processor time")):
        ratio = difference("command", which) / difference("python", which)
        print(f"{name}: vectors per second from Python are {ratio:.3f} of the command's")


# ---- against other libraries


def docent_engine(options: argparse.Namespace):
    import docent

    model = options.gguf if options.engine == "docent Q8_0" else options.model
    return docent.Embedder(model, threads=options.threads).embed


def fastembed_engine(options: argparse.Namespace):
    from fastembed import TextEmbedding

    name = "sentence-transformers/all-MiniLM-L6-v2"
    model = TextEmbedding(name, threads=options.threads, specific_model_path=options.onnx)
    return lambda texts: list(model.embed(texts))


def sentence_transformers_engine(options: argparse.Namespace):
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(options.threads)
    return SentenceTransformer(options.model, device="cpu").encode


def llama_cpp_engine(options: argparse.Namespace):
    from llama_cpp import Llama

    threads = {"n_threads": options.threads, "n_threads_batch": options.threads}
    model = Llama(options.gguf, embedding=True, verbose=False, n_ctx=512, n_batch=512, **threads)
    # One text a call: several at once are slower.
    return lambda texts: [model.embed(text, normalize=True) for text in texts]


ENGINES = {
    "docent Q8_0": docent_engine,
    "docent F32": docent_engine,
    "fastembed": fastembed_engine,
    "sentence-transformers": sentence_transformers_engine,
    "llama-cpp-python": llama_cpp_engine,
}


def work(options: argparse.Namespace) -> None:
    """A process of one engine: opens the model, then embeds the texts once for every line that it reads."""
    begin = time.process_time()
    embed = ENGINES[options.engine](options)
    embed(["warm up"])
    print(json.dumps(time.process_time() - begin), flush=True)
    for line in sys.stdin:
        batch = texts(options.copies) if line == "many\n" else texts(1)[:40]
        # On one thread, which is what the comparison is made on, processor time is what a quiet machine's clock would show.
        begin = time.process_time()
        if line == "many\n":
            embed(batch)
        else:
            for text in batch:
                embed([text])
        print(json.dumps((time.process_time() - begin) / len(batch)), flush=True)


def compare_with_peers(options: argparse.Namespace) -> None:
    """Rounds of all engines in turn, of many texts at once and of one at a time: vectors per processor second."""
    running, opened = {}, {}
    for engine in ENGINES:
        command = [sys.executable, __file__, "work", "--engine", engine, "--threads", str(options.threads)]
        command += ["--model", options.model, "--gguf", options.gguf, "--onnx", options.onnx, "--copies", str(options.copies)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        answer = process.stdout.readline()
        if answer:
            running[engine], opened[engine] = process, json.loads(answer)
        else:
            process.wait()
            print(f"{engine}: does not run here", file=sys.stderr)
    seconds = {(engine, how): [] for engine in running for how in ("many", "one")}
    for _ in range(options.rounds):
        for how in ("many", "one"):
            for engine, process in running.items():
                process.stdin.write(how + "\n")
                process.stdin.flush()
                seconds[engine, how].append(json.loads(process.stdout.readline()))
    for process in running.values():
        process.stdin.close()
        process.wait()
    print("| library | many texts at once | one text at a time | import, open and first vector |\n|---|---|---|---|")
    for engine in running:
        row = [statistics.median(seconds["docent Q8_0", how]) / statistics.median(seconds[engine, how]) for how in ("many", "one")]
        print(f"| {engine} | {row[0]:.2f} | {row[1]:.2f} | {opened[engine] / opened['docent Q8_0']:.1f} x |")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = arguments.add_subparsers(dest="what", required=True)
    command = commands.add_parser("command")
    command.add_argument("--docent", default="docent", help="the binary")
    command.add_argument("--model", default="all-MiniLM-L6-v2")
    peers = commands.add_parser("peers")
    working = commands.add_parser("work")
    working.add_argument("--engine", choices=ENGINES)
    for parser in (peers, working):
        parser.add_argument("--model", required=True, help="the Hugging Face directory")
        parser.add_argument("--gguf", required=True, help="the same model as a Q8_0 file")
        parser.add_argument("--onnx", required=True, help="the same model as fastembed wants it")
        parser.add_argument("--threads", type=int, default=1)
    for parser in (command, peers, working):
        parser.add_argument("--copies", type=int, default=2, help="how often each of the texts is embedded")
    for parser in (command, peers):
        parser.add_argument("--rounds", type=int, default=7)
    options = arguments.parse_args()
    {"command": compare_with_command, "peers": compare_with_peers, "work": work}[options.what](options)


if __name__ == "__main__":
    main()
