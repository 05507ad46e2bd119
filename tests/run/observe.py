"""What a cell can find out about its process; run in kernels, and printed as JSON."""

import asyncio
import builtins
import decimal
import faulthandler
import gc
import json
import locale
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import warnings


def name(thing: object) -> str:
    "The text of a thing, without its address."
    return repr(thing).split(" at 0x")[0]


def files() -> list[str]:
    "What is open, but for the sockets of Jupyter's wire, whose number changes with the moment."
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}").split(":[")[0])
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(one for one in found if one not in ("anon_inode", "socket"))


def surroundings() -> dict:
    "What has nothing to do with what is imported."
    pid = os.getpid()
    return {
        "builtins": sorted(vars(builtins)),
        "modules": [m for m in ("__main__", "__mp_main__") if m in sys.modules],
        "main": [vars(sys.modules["__main__"]) is globals(), __name__],
        "environment": {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"},
        "parent": os.environ["JPY_PARENT_PID"] == str(os.getppid()),
        "program": [os.path.basename(sys.argv[0]), len(sys.argv), *sys.orig_argv[:3], sys.executable, sys.prefix],
        "path": sys.path,
        "flags": [str(sys.flags), sys.warnoptions, sys.dont_write_bytecode, sys._xoptions],
        "folder": os.getcwd(),
        "rights": [os.umask(0o22), os.nice(0), sorted(os.sched_getaffinity(0)), os.getuid(), os.getgroups()],
        "limits": [resource.getrlimit(number) for number in range(16)],
        "group": [os.getpgrp() == pid, os.getsid(0) == pid],
        "signals": {s.name: name(signal.getsignal(s)) for s in signal.Signals},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "zone": [time.tzname, time.timezone],
        "locale": [locale.getlocale(), locale.setlocale(locale.LC_ALL), locale.getpreferredencoding()],
        "streams": [[s.encoding, s.errors] for s in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)],
        "stdin": os.read(0, 9).decode(),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "files": files(),
        "interpreter": [sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()],
        "faults": faulthandler.is_enabled(),
        "decimals": str(decimal.getcontext()),
        "hooks": [name(h) for h in (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)],
        "tracing": [sys.gettrace(), sys.getprofile()],
        "processes": [multiprocessing.get_start_method(), multiprocessing.parent_process()],
        "process": multiprocessing.current_process().name,
        "loop": type(asyncio.get_event_loop()).__name__,
        "shell": [type(get_ipython()).__name__, sorted(get_ipython().user_ns), get_ipython().execution_count],  # noqa: F821
        "place": [get_ipython().starting_dir, *map(str, get_ipython().user_ns["_dh"])],  # noqa: F821
        "kin": [type(get_ipython().parent).__name__, get_ipython().kernel is get_ipython().parent],  # noqa: F821
        "state": {k: type(v).__name__ for k, v in get_ipython()._orig_sys_module_state.items()},  # noqa: F821
        "application": [get_ipython().kernel.parent.log.level, len(get_ipython().configurables)],  # noqa: F821
        "config": repr(get_ipython().config).split("connection_file")[0],  # noqa: F821
        "logging": [logging.root.level, [name(h) for h in logging.root.handlers], logging.raiseExceptions],
    }


def libraries() -> dict:
    "What libraries have made of it, after they were imported."
    import matplotlib
    import matplotlib.pyplot as plt
    import mlflow
    import numpy
    import pandas
    import sklearn.ensemble
    import sqlalchemy  # noqa: F401
    import xgboost

    loggers = {n: log for n, log in logging.root.manager.loggerDict.items() if isinstance(log, logging.Logger)}
    ours = ("matplotlib", "mlflow", "numpy", "pandas", "sklearn", "sqlalchemy", "xgboost")
    return {
        "environment": {k: v for k, v in os.environ.items() if k != "JPY_PARENT_PID"},
        "backend": [plt.get_backend(), plt.isinteractive()],
        "events": {k: [name(f) for f in v] for k, v in get_ipython().events.callbacks.items()},  # noqa: F821
        "style": dict(matplotlib.rcParams),
        "pandas": {k: pandas.get_option(k) for k in ("display.max_columns", "display.width", "mode.copy_on_write")},
        "numpy": [numpy.get_printoptions(), numpy.geterr()],
        "settings": [sklearn.get_config(), xgboost.get_config()],
        "mlflow": [mlflow.get_tracking_uri(), mlflow.active_run()],
        "warnings": sorted({name(one) for one in warnings.filters}),
        "loggers": {
            n: [log.level, log.propagate, [name(h) for h in log.handlers]] for n, log in loggers.items() if n in ours
        },
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "signals": {s.name: name(signal.getsignal(s)) for s in signal.Signals},
    }


print(json.dumps([surroundings(), libraries()], default=repr))
