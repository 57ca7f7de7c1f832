"""Fetching a model: progress, exceptions in callbacks, Ctrl-C."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

SIZE = 8 << 20
STEP = 64 << 10


class Slow(http.server.BaseHTTPRequestHandler):
    """A server that takes a dozen seconds for a file."""

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        try:
            self.wfile.write(b"GGUF" + bytes(STEP - 4))
            for _ in range(SIZE // STEP - 1):
                time.sleep(0.1)
                self.wfile.write(bytes(STEP))
        except OSError:
            pass  # who asked has gone

    def log_message(self, *_):
        pass


@pytest.fixture
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}/model.gguf"
    server.shutdown()


def test_progress_and_what_it_raises(address, script, tmp_path):
    outcome = script(
        f"""
        os.environ["DOCENT_CACHE"] = {str(tmp_path)!r}
        class Enough(Exception): pass
        seen = []
        def progress(file, done, total):
            seen.append((done, total))
            if done > 0:
                raise Enough
        try:
            docent.Embedder({address!r}, progress=progress)
        except Enough:
            print("ended")
        assert seen == sorted(seen) and 0 < seen[-1][0] < {SIZE} == seen[-1][1], seen
        """
    )
    assert outcome.stdout == "ended\n" and outcome.returncode == 0, outcome.stderr


def test_ctrl_c(address, script, tmp_path):
    outcome = script(
        f"""
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        os.environ["DOCENT_CACHE"] = {str(tmp_path)!r}
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        begin = time.monotonic()
        try:
            docent.Embedder({address!r})
        except KeyboardInterrupt:
            print("interrupted")
        assert time.monotonic() - begin < 10
        """
    )
    assert outcome.stdout == "interrupted\n" and outcome.returncode == 0, outcome.stderr


def test_a_server_that_is_not_there(script, tmp_path):
    outcome = script(
        f"""
        os.environ["DOCENT_CACHE"] = {str(tmp_path)!r}
        try:
            docent.Embedder("http://127.0.0.1:9/model.gguf")
        except docent.DownloadError as error:
            assert isinstance(error, OSError)
            print(error)
        """
    )
    assert "127.0.0.1:9" in outcome.stdout, outcome
