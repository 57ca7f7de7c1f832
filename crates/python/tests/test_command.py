"""``python -m docent`` is the command line tool; the package itself is quick to import."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from conftest import TINY

import docent


def docent_command(*args, **options):
    return subprocess.run([sys.executable, "-m", "docent", *args], capture_output=True, text=True, timeout=60, check=False, **options)


def test_it_embeds():
    outcome = docent_command("embed", "-m", str(TINY), "hello world")
    assert outcome.returncode == 0, outcome.stderr
    line = json.loads(outcome.stdout)
    assert line["tokens"] == 4 and len(line["embedding"]) == 96


def test_it_has_the_version_of_the_package():
    assert docent_command("--version").stdout == f"docent {docent.__version__}\n"


def test_its_exit_status_says_what_went_wrong():
    assert docent_command("embed", "--nonsense").returncode == 2
    wrong = docent_command("embed", "-m", "/no/where.gguf", "x")
    assert wrong.returncode == 1 and wrong.stdout == "" and "no model at /no/where.gguf" in wrong.stderr
    assert docent_command("embed", "--format", "json", "-m", "/no/where.gguf", "x").stderr.startswith('{"error"')


def test_it_reads_standard_input_and_ends_quietly_when_its_reader_does():
    outcome = docent_command("embed", "-m", str(TINY), "--input", "-", input="one\ntwo\n")
    assert len(outcome.stdout.splitlines()) == 2, outcome.stderr
    shell = f"yes text | head -20000 | {sys.executable} -m docent embed -m {TINY} --input - | head -1 | wc -l"
    piped = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=True)
    assert piped.stdout.strip() == "1" and piped.stderr == ""


def test_ctrl_c_ends_it():
    command = [sys.executable, "-m", "docent", "embed", "-m", str(TINY), "--input", "-"]
    running = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=20) == -signal.SIGINT
    running.stdin.close()


def test_what_an_import_loads():
    """An import that loads no more than it needs; CI reports how long it takes."""
    code = "import sys; import docent; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"numpy", "asyncio", "fastembed", "chromadb", "torch", "logging", "concurrent", "typing_extensions"}
    assert "docent" in loaded and not heavy & set(loaded)


def test_everything_is_typed():
    folder = os.path.dirname(docent.__file__)
    assert os.path.exists(os.path.join(folder, "py.typed")) and os.path.exists(os.path.join(folder, "_docent.pyi"))
