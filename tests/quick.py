"""Runs without what takes longer than small steps: their workers are kept for the next run, and MLflow is left out."""

import signal
from collections.abc import Iterator
from contextlib import chdir, contextmanager

from mlops_nb.run import execute
from mlops_nb.run.worker import Worker


class NoCourier:
    "Leaves a run in the outbox; starting a process that talks to MLflow takes longer than most steps."

    def __init__(self, *_):
        self.send, self.finish, self.open = lambda: None, lambda seconds: "", lambda record, notebook: ""


class KeptWorker(Worker):
    "A worker that waits for the next run when one has ended well with it."

    idle: list["KeptWorker"] = []  # noqa: RUF012  shared by all runs of this process

    def __init__(self, events, *facts):
        self.reader, self.busy = events, False
        with chdir("/"):  # it belongs to no project
            super().__init__(self, *facts)

    @classmethod
    def take(cls, events, *facts) -> "KeptWorker":
        "One that is there, or a new one."
        while cls.idle:
            worker = cls.idle.pop()
            if worker.process.poll() is None:
                worker.reader, worker.step = events, None
                return worker
        return cls(events, *facts)

    def put(self, message: tuple) -> None:
        "What it says goes to the run that it works for."
        self.busy = self.busy and message[1]["event"] not in ("over", "died")
        self.reader.put(message)

    def run(self, *arguments, **facts) -> None:
        self.busy = True
        super().run(*arguments, **facts)

    def close(self) -> None:
        if self.busy or self.stopping is not None or self.process.poll() is not None:
            super().close()
        else:
            KeptWorker.idle.append(self)


def end_kept_workers() -> None:
    "End them, and wait until they are gone."
    for worker in KeptWorker.idle:
        worker.process.stdin.close()
    while KeptWorker.idle:
        KeptWorker.idle.pop().process.wait(30)


@contextmanager
def quickly() -> Iterator[None]:
    "Runs that begin in this process until the block ends."
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    parts = execute.Worker, execute.Courier
    execute.Worker, execute.Courier = KeptWorker.take, NoCourier
    try:
        yield
    finally:
        execute.Worker, execute.Courier = parts
        for number, handler in before.items():
            signal.signal(number, handler)


def begin() -> None:
    "The command, in a process of its own, without a courier."
    from mlops_nb.cli import main

    execute.Courier = NoCourier
    main()
