"""Tracking servers for tests: one that works and can die, one that never answers, one that only fails."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def free_port() -> int:
    "A port of 127.0.0.1 that nobody listens on."
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class TrackingServer:
    "An MLflow server with a store of its own; it can be killed, and started again at the same address."

    def __init__(self, folder: Path):
        self.folder, self.port, self.process = folder, free_port(), None
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        "Start it, and wait until it answers."
        port = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        store += ["--artifacts-destination", f"{self.folder}/artifacts"]
        command = [sys.executable, "-m", "mlflow", "server", *port, *store]
        said = self.folder / "server.log"
        with said.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=os.environ | QUIET
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=1)
                return
            except OSError:
                time.sleep(0.1)
        raise TimeoutError(said.read_text())

    def kill(self) -> None:
        "End it and all its processes at once; harmless when it is dead."
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@contextmanager
def tracking_server(folder: Path) -> Iterator[TrackingServer]:
    "An MLflow server that runs until the block ends."
    server = TrackingServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def hanging_server() -> Iterator[str]:
    "The address of a server that takes every connection and never answers."
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


class _Broken(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.send_error(500)

    do_GET = do_POST = do_PUT = do_PATCH = answer

    def log_message(self, *arguments) -> None:
        "Say nothing."


@contextmanager
def broken_server() -> Iterator[str]:
    "The address of a server that answers every request with 500."
    with ThreadingHTTPServer(("127.0.0.1", 0), _Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
