"""Threads, asyncio, forks, Ctrl-C and the end of the interpreter."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
from conftest import TINY, TINY_RERANKER

import docent

TEXTS = [f"text number {index} of some" for index in range(300)]


def test_threads_share_an_embedder(tiny):
    expected = tiny.embed(TEXTS)
    found = [None] * 8

    def work(index):
        found[index] = [tiny.embed(TEXTS) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(vectors, expected) for results in found for vectors in results)


def test_other_threads_run_while_a_model_works(tiny):
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    begin = time.monotonic()
    tiny.embed(TEXTS * 40)
    took = time.monotonic() - begin
    stop.set()
    ticker.join()
    during = [moment for moment in ticks if begin <= moment <= begin + took]
    assert len(during) > 5, f"{len(during)} ticks in {took:.3f} s"


def test_asyncio(tiny, tiny_reranker):
    async def main():
        loops = 0

        async def spin():
            nonlocal loops
            while True:
                loops += 1
                await asyncio.sleep(0)

        spinning = asyncio.create_task(spin())
        results = await asyncio.gather(*(tiny.aembed(TEXTS) for _ in range(4)), tiny.aembed_query("hello"))
        ranked = await tiny_reranker.arerank("q", ["a", "b"])
        scores = await tiny_reranker.ascore("q", ["a", "b"])
        detailed = await tiny.aembed_detailed(["hello"])
        document = await tiny.aembed_document("hello")
        spinning.cancel()
        return loops, results, ranked, scores, detailed, document

    loops, results, ranked, scores, detailed, document = asyncio.run(main())
    assert loops > 10, "the event loop goes on"
    assert all(np.array_equal(vectors, tiny.embed(TEXTS)) for vectors in results[:4])
    assert np.array_equal(results[4], tiny.embed_query("hello"))
    assert ranked == tiny_reranker.rerank("q", ["a", "b"]) and scores.shape == (2,)
    assert detailed.vectors.shape == (1, 96) and np.array_equal(document, tiny.embed_document("hello"))


def test_asynchronous_generators(tiny):
    async def source():
        for text in TEXTS[:10]:
            await asyncio.sleep(0)
            yield text

    async def main(texts):
        return [row async for row in tiny.aembed_iter(texts, batch_size=4)]

    for texts in (source(), TEXTS[:10], iter(TEXTS[:10])):
        assert np.array_equal(np.stack(asyncio.run(main(texts))), tiny.embed(TEXTS[:10]))


def test_a_cancelled_task_leaves_the_embedder_usable(tiny):
    async def main():
        task = asyncio.create_task(tiny.aembed(TEXTS * 20))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert tiny.embed("x").shape == (96,)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@needs_fork
def test_a_forked_child_computes_the_same(script):
    outcome = script(
        f"""
        import numpy as np
        embedder, reranker = docent.Embedder(TINY), docent.Reranker(TINY_RERANKER)
        texts = {TEXTS!r}
        expected, scores = embedder.embed(texts), reranker.score("q", texts)
        for _ in range(3):
            child = os.fork()
            if child == 0:
                same = np.array_equal(embedder.embed(texts), expected) and np.array_equal(reranker.score("q", texts), scores)
                os._exit(0 if same else 9)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0, status
        assert np.array_equal(embedder.embed(texts), expected)
        """
    )
    assert outcome.returncode == 0, outcome.stderr


@needs_fork
def test_a_fork_in_the_middle_of_another_threads_call(script):
    """The pool's locks may be held by a thread that the child does not have: it must not wait for it."""
    outcome = script(
        f"""
        import numpy as np, warnings
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks with threads
        embedder = docent.Embedder(TINY, threads=2)
        texts = {TEXTS!r}
        expected = embedder.embed(texts)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                embedder.embed(texts)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads: thread.start()
        for round in range(20):
            time.sleep(0.003 * (round % 5))
            child = os.fork()
            if child == 0:
                stop.set()
                os._exit(0 if np.array_equal(embedder.embed(texts), expected) else 9)
            deadline = time.monotonic() + 20
            while True:
                done, status = os.waitpid(child, os.WNOHANG)
                if done: break
                if time.monotonic() > deadline:
                    os.kill(child, 9); os.waitpid(child, 0); stop.set()
                    sys.exit(f"the child of round {{round}} hangs")
                time.sleep(0.005)
            assert os.waitstatus_to_exitcode(status) == 0, status
        stop.set()
        for thread in threads: thread.join()
        """
    )
    assert outcome.returncode == 0, outcome.stderr


def embed_in_a_worker(texts):
    return docent.Embedder(TINY, threads=1).embed(texts)


def use_in_a_worker(embedder, texts):
    return embedder.embed(texts)


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn", "forkserver") if m in multiprocessing.get_all_start_methods()])
def test_multiprocessing(method, tiny):
    expected = tiny.embed(TEXTS[:20])
    with multiprocessing.get_context(method).Pool(2) as pool:
        made_there = pool.map(embed_in_a_worker, [TEXTS[:20]] * 2)
        sent_there = pool.starmap(use_in_a_worker, [(tiny, TEXTS[:20])] * 2)
    assert all(np.array_equal(vectors, expected) for vectors in made_there + sent_there)


def test_ctrl_c_ends_a_long_call(script):
    outcome = script(
        """
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        embedder = docent.Embedder(TINY, threads=1)
        embedder.embed("warm")
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            embedder.embed(["the cat sat on the mat and " * 3] * 400_000)
        except KeyboardInterrupt:
            print("interrupted")
        assert time.monotonic() - begin < 20
        assert embedder.embed("x").shape == (96,)
        """
    )
    assert outcome.stdout == "interrupted\n", outcome.stderr


@pytest.mark.parametrize("threads", [1, 2])
def test_the_interpreter_ends_while_daemon_threads_compute(script, threads):
    outcome = script(
        f"""
        embedder, reranker = docent.Embedder(TINY, threads={threads}), docent.Reranker(TINY_RERANKER)
        texts = {TEXTS!r}
        def embed():
            while True: embedder.embed(texts)
        def rerank():
            while True: reranker.score("q", texts[:20])
        for work in (embed, rerank) * 3:
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.3)
        print("end")
        """
    )
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, "end\n", "")


def test_the_interpreter_ends_with_models_in_use_everywhere(script):
    outcome = script(
        """
        import atexit
        embedder = docent.Embedder(TINY)
        class Late:
            def __del__(self):
                print("del", len(embedder.embed("x")))
        keep = Late()
        atexit.register(lambda: print("atexit", len(embedder.embed("x"))))
        pending = embedder.embed_iter(["a"] * 1000)
        next(pending)
        """
    )
    assert outcome.returncode == 0 and "atexit 96" in outcome.stdout and "Traceback" not in outcome.stderr, outcome


def test_an_exception_in_a_callback_on_a_thread(tiny):
    caught = []

    def stop(done, total):
        raise RuntimeError("enough")

    def work():
        try:
            tiny.embed(TEXTS * 4, progress=stop)
        except RuntimeError as error:
            caught.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert caught == ["enough"] and tiny.embed("x").shape == (96,)


def test_a_callback_may_call_the_embedder(tiny):
    seen = []
    tiny.embed(TEXTS * 2, progress=lambda done, total: seen.append(tiny.embed("inside").shape))
    assert seen and set(seen) == {(96,)}


def test_models_open_on_several_threads_at_once():
    models = [None] * 6

    def work(index):
        models[index] = docent.Embedder(TINY) if index % 2 else docent.Reranker(TINY_RERANKER)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(model is not None for model in models)


def test_a_signal_handler_may_raise(script):
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("this system has no SIGALRM")
    outcome = script(
        """
        import signal
        class Alarm(Exception): pass
        def ring(*_): raise Alarm
        signal.signal(signal.SIGALRM, ring)
        embedder = docent.Embedder(TINY, threads=1)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            embedder.embed(["the cat sat on the mat and " * 3] * 400_000)
        except Alarm:
            print("rang")
        """
    )
    assert outcome.stdout == "rang\n", outcome.stderr


