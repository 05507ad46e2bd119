"""Workers that are killed under load, twenty times: is every answer that a caller got in the log, once?"""

import http.client
import os
import signal
import threading
import time
from pathlib import Path

from benchmarks.report import Report
from benchmarks.serve.servers import NAME, body, register, serving

KILLS, CALLERS = 20, 8


def run(report: Report, folder: Path, seconds: float) -> None:
    "Callers note the id of each answer that they got whole."
    from mlops_nb.serve.deployment import Board
    from mlops_nb.serve.predictions import read_predictions

    register(folder)
    home, got, enough, text = folder / ".mlops_nb" / "serve" / NAME, [], threading.Event(), body(1)
    with serving("mlops_nb", folder) as server:

        def ask() -> None:
            line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            while not enough.is_set():
                try:
                    line.request("POST", "/invocations", text, {"content-type": "application/json"})
                    answer = line.getresponse()
                    answer.read()
                    if answer.status == 200:
                        got.append(answer.headers["x-request-id"])
                except (OSError, http.client.HTTPException):
                    line.close()
                    time.sleep(0.05)

        callers = [threading.Thread(target=ask) for _ in range(CALLERS)]
        for caller in callers:
            caller.start()
        board, killed = Board(home), 0
        while killed < KILLS:
            time.sleep(1)
            for place in board.living():
                if board.lines[place, 1] == board.active:  # it answers
                    os.kill(int(board.lines[place, 0]), signal.SIGKILL)
                    killed += 1
        time.sleep(1)
        enough.set()
        for caller in callers:
            caller.join()
    kept = read_predictions(home / "log")["request_id"].value_counts()
    row = {"kills": killed, "answers_got": len(got), "in_the_log": len(kept), "lost": len(set(got) - set(kept.index)),
           "twice": int((kept > 1).sum())}  # fmt: skip
    report.table("crashes", [row])
    report.ratio("crashes_without_loss", float(row["lost"] == row["twice"] == 0 and len(got) > 1000), 1)
