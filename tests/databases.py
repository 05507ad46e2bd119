"""Servers for tests of data: a PostgreSQL of one's own, and an object store that speaks S3."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers import free_port

PASSWORD = "hunter2:@/%"  # of the kind that breaks addresses which are put together by hand


class Postgres:
    "A PostgreSQL server in a temporary folder, with a user `ann` who has a password."

    def __init__(self):
        here = Path(__file__).parents[1]
        self.programs = Path(subprocess.check_output([here / "tools" / "setup-postgres"], text=True).strip())
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        self.port, self.process = free_port(), None
        self.user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        self.address = f"postgresql+psycopg://ann@127.0.0.1:{self.port}/clinic"

    def _run(self, program: str, *arguments: str, **options) -> subprocess.CompletedProcess:
        owner = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid} if self.user else {}
        command = [str(self.programs / program), *arguments]
        return subprocess.run(command, check=True, capture_output=True, cwd="/", **owner, **options)

    def start(self) -> None:
        "Make a cluster when there is none, start the server, and wait until it answers."
        data = self.folder / "data"
        if not data.exists():
            if self.user:
                shutil.chown(self.folder, self.user)
            self._run("initdb", "-D", str(data), "-U", "boss", "--auth=trust", "-E", "UTF8", "--no-sync")
            lines = "local all boss trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            (data / "pg_hba.conf").write_text(lines)
        owner = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid} if self.user else {}
        settings = [f"-cunix_socket_directories={self.folder}", "-clisten_addresses=127.0.0.1", "-cfsync=off"]
        with open(self.folder / "log", "a") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", data, "-p", str(self.port), *settings],
                stdout=log, stderr=log, cwd="/", **owner,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self._run("pg_isready", "-h", str(self.folder), "-p", str(self.port))
                return
            except subprocess.CalledProcessError:
                time.sleep(0.05)
        raise TimeoutError((self.folder / "log").read_text())

    def sql(self, statements: str, database: str = "clinic") -> None:
        "Run statements as the one who may do everything."
        self._run("psql", "-h", str(self.folder), "-p", str(self.port), "-U", "boss", "-d", database, "-q",
                  "-v", "ON_ERROR_STOP=1", "-c", statements)  # fmt: skip

    def stop(self) -> None:
        "End it at once; harmless when it is dead."
        if self.process and self.process.poll() is None:
            self.process.send_signal(3)  # SIGQUIT: immediately, with all its processes
            self.process.wait()


@contextmanager
def postgres() -> Iterator[Postgres]:
    "A server with an empty database `clinic`, until the block ends."
    server = Postgres()
    try:
        server.start()
        server.sql("CREATE DATABASE clinic", "postgres")
        quoted = PASSWORD.replace("'", "''")
        server.sql(f"CREATE ROLE ann LOGIN PASSWORD '{quoted}'; GRANT pg_read_all_data TO ann")
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@contextmanager
def object_store(folder: Path) -> Iterator[dict]:
    "What fsspec has to know to reach an S3 server that runs until the block ends."
    port = free_port()
    with open(folder / "store.log", "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/moto-api/", timeout=1)
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise TimeoutError((folder / "store.log").read_text()) from None
                time.sleep(0.1)
        yield {"key": "testing", "secret": "hunter2", "endpoint_url": f"http://127.0.0.1:{port}"}
    finally:
        process.kill()
        process.wait()
