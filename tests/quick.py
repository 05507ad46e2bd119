"""Runs that leave MLflow out: they wait in the outbox, from which a test may deliver them all at once."""

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from mlops_nb.run import runner

NOWHERE = Future()
NOWHERE.set_result("")


class NoCourier:
    "Leaves a run in the outbox; starting a process that talks to MLflow takes longer than most steps."

    def __init__(self, *_):
        self.send, self.finish, self.open = lambda: None, lambda seconds: "", lambda record, notebook: NOWHERE


@contextmanager
def quickly() -> Iterator[None]:
    "Leave it out of all runs of this process until the block ends, and keep the signals as they were."
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    courier, runner.Courier = runner.Courier, NoCourier
    try:
        yield
    finally:
        runner.Courier = courier
        for number, handler in before.items():
            signal.signal(number, handler)


def begin() -> None:
    "The command, in a process of its own, without a courier."
    from mlops_nb.cli import main

    runner.Courier = NoCourier
    main()
