"""Kernels that are forked: they cannot be told from cold ones, and no zygote outlives its owner."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.provisioning import KernelProvisionerFactory
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbclient.util import run_sync

from mlops_nb.run.kernel import WARM, Manager, private_transport
from mlops_nb.run.spare import send
from mlops_nb.run.warm import MODULES, Zygote, shared_zygote

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")


@pytest.fixture(scope="module")
def zygote():
    "One that has imported what a training notebook uses."
    found = Zygote()  # not entered: tests have zygotes of their own
    assert found.trouble(120) == ""
    yield found
    found.close()


def notebook(*cells: str) -> nbformat.NotebookNode:
    code = [nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells]
    about = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=code, metadata={"kernelspec": about})


def execute(cells, zygote=None, folder=None, log=subprocess.DEVNULL, **options):
    "Run cells through nbclient as it is; the notebook, and why its kernel was started cold."
    with private_transport() as config:
        config.KernelManager.zygote = zygote.path if zygote else ""
        client = NotebookClient(
            notebook(*cells), kernel_manager_class=Manager, config=config, timeout=120,
            resources={"metadata": {"path": str(folder or Path.cwd())}},
        )  # fmt: skip
        client.create_kernel_manager()
        manager = client.km
        done = client.execute(stdout=log, stderr=log, **options)
        return done, getattr(manager.provisioner, "cold", None)


def said(cell) -> str:
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stdout")


OBSERVE = f"exec(open({str(Path(__file__).with_name('observe.py'))!r}).read())"


# What a fork may show and a cold kernel not, or not yet: variables that libraries set when they are imported, a mark.
INTENDED = {
    "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "_MLFLOW_TELEMETRY_SESSION_ID",
    "__pybind11_internals_v4_gcc_libstdcpp_cxxabi1014__",
}  # fmt: skip


def observe(zygote, folder) -> list[dict]:
    "What a cell sees of its process, before and after it has imported libraries."
    done, why = execute([OBSERVE], zygote, folder)
    assert not why
    seen = json.loads(said(done.cells[0]))
    seen[0]["builtins"] = [name for name in seen[0]["builtins"] if name not in INTENDED]
    for one in seen:
        one |= {f"environment {k}": v for k, v in one.pop("environment").items() if k not in INTENDED}
    return seen


def test_a_cell_cannot_tell_where_its_kernel_comes_from(zygote, tmp_path, monkeypatch):
    monkeypatch.setenv("SOMETHING", "of the moment")
    monkeypatch.setenv("_MLFLOW_TELEMETRY_SESSION_ID", "of a process that has imported MLflow")
    cold = observe(None, tmp_path)
    for wait in (0, 1):  # [s]; after that there is a spare kernel
        time.sleep(wait)
        warm = observe(zygote, tmp_path)
        for before, after in zip(cold, warm, strict=True):
            assert {k: (before.get(k), after.get(k)) for k in before | after if before.get(k) != after.get(k)} == {}


def test_a_kernel_holds_nothing_of_the_zygote_open(zygote):
    look = "import os\nprint([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')[:-1]])"
    for wait in (0, 1):  # [s]; after that there is a spare kernel
        time.sleep(wait)
        held = {link for link in eval(said(execute([look], zygote)[0].cells[0])) if "socket" in link or "pipe" in link}
        fds = Path(f"/proc/{zygote.process.pid}/fd")
        assert held
        assert not held & {os.readlink(fd) for fd in fds.iterdir()}


def test_no_two_kernels_draw_the_same_random_numbers(zygote):
    draw = """
        import random, secrets, tempfile, uuid, numpy, sklearn.utils
        print([random.random(), numpy.random.rand(), numpy.random.default_rng().random(), uuid.uuid4().hex,
               secrets.token_hex(4), sklearn.utils.check_random_state(None).rand(),
               next(tempfile._get_candidate_names())])
    """
    drawn = [eval(said(execute([draw], zygote)[0].cells[0])) for _ in range(4)]
    for numbers in zip(*drawn, strict=True):
        assert len(set(numbers)) == 4


TRAIN = """
    import numpy, pandas, xgboost
    from concurrent.futures import ThreadPoolExecutor
    from sklearn.datasets import make_classification
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    X, y = make_classification(3000, 30, random_state=1)
    df = pandas.DataFrame(X)
    df.corr().round(12).to_csv()
    trees = xgboost.XGBClassifier(n_estimators=30, n_jobs=2, random_state=1).fit(df, y)
    print(float(trees.predict_proba(df)[:, 1].sum()).hex())
    forest = RandomForestClassifier(30, n_jobs=2, random_state=1).fit(X, y)
    print(float(forest.predict_proba(X)[:, 1].sum()).hex(), float(LogisticRegression().fit(X, y).coef_.sum()).hex())
    big = numpy.random.RandomState(0).rand(600, 600)
    with ThreadPoolExecutor(2) as pool:
        print([float(found.trace()).hex() for found in pool.map(lambda k: big @ big.T, range(2))])
    print(float(numpy.linalg.svd(big)[1][0]).hex())
"""


def test_native_threads_work_after_the_fork_and_give_the_same_to_the_last_bit(zygote):
    expected = said(execute([TRAIN])[0].cells[0])
    assert expected.count("0x") == 6
    for _ in range(3):
        done, why = execute([TRAIN], zygote)
        assert (why, said(done.cells[0])) == ("", expected)


def test_a_figure_is_shown_and_a_process_pool_works(zygote):
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])"
    pool = """
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(abs, [-1, -2]))
        from joblib import Parallel, delayed
        print(Parallel(2)(delayed(abs)(k) for k in (-3, -4)))
    """
    cold, warm = (execute([draw, pool], source)[0].cells for source in (None, zygote))
    for cells in (cold, warm):
        assert [o.output_type for o in cells[0].outputs] == ["execute_result", "display_data"]
        assert said(cells[1]) == "[1, 2]\n[3, 4]\n"
    assert cold[0].outputs[1].data["image/png"] == warm[0].outputs[1].data["image/png"]


def test_what_a_user_sees_of_the_end_of_a_process(zygote, tmp_path):
    end = """
        import atexit, os
        class Late:
            def __del__(self): open("finalized", "w").close()
        late, file = Late(), open("left.txt", "w")
        atexit.register(os.write, 1, b"at exit\\n")
        print(file.write("flushed"))
    """
    for source in (None, zygote):
        with open(tmp_path / "log", "w") as log:
            execute([end], source, tmp_path, log)
        assert (tmp_path / "log").read_text().strip() == "at exit"
        assert (tmp_path / "left.txt").read_text() == "flushed"
        (tmp_path / "finalized").unlink()
        (tmp_path / "left.txt").unlink()


def kernels(zygote) -> list[psutil.Process]:
    return psutil.Process(zygote.process.pid).children()


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_death_of_a_kernel_is_its_own(zygote):
    for cell, code in (("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9), ("import os; os._exit(3)", 3)):
        with pytest.raises(DeadKernelError):
            execute([cell], zygote)
        assert execute(["print(1)"], zygote)[1] == "", code
    wait_until(lambda: len(kernels(zygote)) == 1)  # the spare one
    assert not [p for p in kernels(zygote) if p.status() == psutil.STATUS_ZOMBIE]


def test_a_client_that_dies_before_its_answer_harms_nobody(zygote):
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(zygote.path)
            send(line, {"command": ["nothing"], "env": {}, "cwd": "/", "spare": False})
    assert execute(["print(1)"], zygote)[1] == ""
    assert zygote.trouble() == ""


def test_an_interrupt_ends_a_cell_and_a_restart_gives_a_new_kernel(zygote):
    with private_transport() as config:
        config.KernelManager.zygote = zygote.path
        client = NotebookClient(notebook("x = 1"), kernel_manager_class=Manager, config=config, timeout=3,
                                interrupt_on_timeout=True)  # fmt: skip
        with client.setup_kernel():
            client.execute_cell(client.nb.cells[0], 0)
            long = nbformat.v4.new_code_cell("import time\ntime.sleep(60)")
            with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
                client.execute_cell(long, 1)
            first = client.km.provisioner.pid
            run_sync(client.km.restart_kernel)()
            run_sync(client.kc.wait_for_ready)(timeout=30)
            asked = nbformat.v4.new_code_cell("print('x' in globals())")
            client.execute_cell(asked, 0)
            assert (said(asked), client.km.provisioner.cold) == ("False\n", "")
            assert client.km.provisioner.pid != first
            assert not psutil.pid_exists(first)


def test_nothing_is_left_whatever_death_the_owner_dies(tmp_path):
    code = """
        import sys, time
        sys.path.insert(0, sys.argv[1])
        from test_warm import execute
        from mlops_nb.run.warm import Zygote
        with Zygote(("json",)) as zygote:
            print(zygote.process.pid, zygote.folder, flush=True)
            cells = ["import os, subprocess, time", "subprocess.Popen(['sleep', '77'])",
                     "open('begun', 'w').close(); time.sleep(60)"]
            execute(cells, zygote, sys.argv[2])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(Path(__file__).parent), str(tmp_path)]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        pid, folder = owner.stdout.readline().split()
        wait_until((tmp_path / "begun").exists, 60)
        (tmp_path / "begun").unlink()
        family = [psutil.Process(int(pid)), *psutil.Process(int(pid)).children(recursive=True)]
        assert len(family) >= 3  # the zygote, the kernel, and what the cell has started
        owner.send_signal(number)
        owner.wait(30)
        owner.stdout.close()
        _, alive = psutil.wait_procs(family, timeout=10)
        assert not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], number
        if number == signal.SIGKILL:
            Zygote(()).close()  # the next one tidies up
        assert not Path(folder).exists()


def test_a_killed_zygote_takes_its_kernels_along_and_the_next_one_is_cold():
    with Zygote(("json",)) as zygote:
        with pytest.raises(DeadKernelError):
            execute([f"import os, signal, time; os.kill({zygote.process.pid}, signal.SIGKILL); time.sleep(60)"], zygote)
        done, why = execute(["print(1)"], zygote)
        assert (said(done.cells[0]), bool(why)) == ("1\n", True)
        assert "the zygote has died" in zygote.trouble()


def test_stale_code_is_never_forked(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    module, ask = tmp_path / "ours.py", ["import ours; print(ours.answer)"]
    module.write_text("answer = 1")
    old = shared_zygote(("ours",))
    assert old.trouble(60) == ""
    assert said(execute(ask, old)[0].cells[0]) == "1\n"
    module.write_text("answer = 42")
    assert old.trouble() == f"{module} has changed since it was imported"
    new = shared_zygote(("ours",))
    assert new is not old
    assert said(execute(ask, new)[0].cells[0]) == "42\n"
    wait_until(lambda: old.process.poll() == 0)  # retired: it had no kernel left
    new.close()


def test_a_librarys_own_random_numbers_differ_from_kernel_to_kernel(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "dice.py").write_text("import random\nown = random.Random(1)")
    zygote = shared_zygote(("dice",))
    assert zygote.trouble(60) == ""
    thrown = {said(execute(["import dice; print(dice.own.random())"], zygote)[0].cells[0]) for _ in range(3)}
    zygote.close()
    assert len(thrown) == 3


def test_a_configuration_of_ipython_is_heard(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    file, ask = tmp_path / "profile_default" / "ipython_kernel_config.py", ["print(number)"]
    file.parent.mkdir()
    file.write_text("c.InteractiveShellApp.exec_lines = ['number = 3']")
    with Zygote(("json",)) as zygote:
        assert zygote.trouble(60) == ""
        assert {said(execute(ask, zygote)[0].cells[0]) for _ in range(3)} == {"3\n"}
    file.unlink()
    with Zygote(("json",)) as zygote:  # the shell is built before there is a configuration
        assert zygote.trouble(60) == ""
        execute(["1"], zygote)
        file.write_text("c.InteractiveShellApp.exec_lines = ['number = 4']")
        found = [said(execute(["print(globals().get('number'))"], zygote)[0].cells[0]) for _ in range(4)]
        assert found.count("4\n") >= 3, found  # one spare kernel may have been ready before


REFUSED = {
    "environment": ({"OMP_NUM_THREADS": "1"}, "OMP_NUM_THREADS"),
    "matplotlibrc": ({}, "matplotlibrc"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_kernel_starts_cold_where_a_copy_would_not_be_the_same(zygote, tmp_path, what):
    env, word = REFUSED[what]
    if what == "matplotlibrc":
        (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7")
    cell = "import os, matplotlib; print(os.environ.get('OMP_NUM_THREADS'), matplotlib.rcParams['lines.linewidth'])"
    done, why = execute([cell], zygote, tmp_path, env=os.environ | env)
    assert word in why
    assert said(done.cells[0]) == ("1 1.5\n" if env else "None 7.0\n")


def test_a_long_name_of_the_folder_for_temporary_files_does_no_harm(tmp_path, monkeypatch):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with Zygote(()) as zygote:
        for source in (None, zygote):
            done, why = execute(["print(1)"], source)
            assert (said(done.cells[0]), bool(why)) == ("1\n", False)
    assert not list(long.iterdir())


def test_a_library_that_starts_threads_makes_kernels_start_cold(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "busy.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(99,), daemon=True, name='busy').start()"
    )
    with Zygote(("busy",)) as zygote:
        assert zygote.trouble(60) == "these threads would be lost in a copy: busy"
        done, why = execute(["print(1)"], zygote)
        assert (said(done.cells[0]), bool(why)) == ("1\n", True)


def test_a_kernel_spec_that_names_it_is_enough(tmp_path, monkeypatch):
    "papermill, nbclient and JupyterLab need to know nothing."
    command = ["python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    provisioner = {"provisioner_name": "mlops-nb-warm", "config": {"modules": ["colorsys"]}}
    spec = {
        "argv": command,
        "display_name": "Warm",
        "language": "python",
        "metadata": {"kernel_provisioner": provisioner},
    }
    folder = tmp_path / "kernels" / "warm"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    done = NotebookClient(notebook("import sys\nprint('colorsys' in sys.modules)"), kernel_name="warm").execute()
    assert said(done.cells[0]) == "True\n"
    shared_zygote(("colorsys",)).close()


def test_an_installation_that_does_not_know_the_provisioner_starts_kernels_cold_and_says_so(zygote, monkeypatch):
    monkeypatch.delitem(KernelProvisionerFactory.instance().provisioners, WARM)
    manager = Manager(zygote=zygote.path, kernel_name="python3")
    assert "kernel_provisioner" not in manager.kernel_spec.metadata
    assert manager.cold == "Jupyter does not know the provisioner mlops-nb-warm: install mlops_nb again"


def test_hundreds_of_kernels_leave_nothing_behind(zygote):
    owner, server = psutil.Process(), psutil.Process(zygote.process.pid)
    execute(["1"], zygote)
    before = owner.num_fds(), server.num_fds(), server.memory_info().rss
    for _ in range(100):
        execute(["1"], zygote)
    wait_until(lambda: len(server.children()) == 1)
    assert owner.num_fds() <= before[0] + 3
    assert server.num_fds() <= before[1] + 1
    assert server.memory_info().rss < before[2] + 5e6  # [bytes]
    assert len(os.listdir(zygote.folder)) < 12  # the socket, the log, and one spare kernel's


def test_what_everybody_imports_can_be_imported_ahead(zygote):
    assert zygote.status["left"] == {}
    assert len(MODULES) == len(set(MODULES))
