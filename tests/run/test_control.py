"""Steps side by side, resources, secrets, and a failed kernel that is left alive."""

import os
import re
import signal
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import nbformat
import pytest
from jupyter_client import BlockingKernelClient
from projects import VARIABLES

from mlops_nb.config import is_locked
from mlops_nb.run.record import list_runs, read_run

COMMAND = Path(sys.executable).parent / "mlops-nb"
USE = "from mlops_nb import step"
SECRET = 'correct/horse "battery" staple'


def call(root: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    return subprocess.run([COMMAND, *words], cwd=root, capture_output=True, text=True, env=clean | environment)


def meet(mine: str, other: str, seconds: float) -> str:
    "A cell that waits for the other step to begin, and logs whether it did."
    return (
        f"import os, time\nfrom pathlib import Path\nplace = Path(os.environ['MEETING'])\n(place / '{mine}').touch()\n"
        f"deadline = time.monotonic() + {seconds}\n"
        f"while not (place / '{other}').exists() and time.monotonic() < deadline:\n    time.sleep(0.05)\n"
        f"step.log(met=(place / '{other}').exists())\nstep.save('{mine}', 1)"
    )


LIMITS = {  # how many jobs, pipeline.toml, whether the steps meet
    "two places": ("2", "", True),
    "one place": ("1", "", False),
    "one of a resource": (
        "2", "[resources]\ndb = 1\n[steps.one]\nresources = {db = 1}\n[steps.two]\nresources = {db = 1}\n", False),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_independent_steps_run_at_once_unless_a_place_or_a_resource_is_short(root, write, tmp_path, name):
    jobs, toml, together = LIMITS[name]
    folder, patience = root / "pipelines" / "fan", 120 if together else 3
    write(folder / "0_one.ipynb", USE, meet("one", "two", patience))
    write(folder / "0_two.ipynb", USE, meet("two", "one", patience))
    write(folder / "1_sum.ipynb", USE, "step.log(total=step.load('one') + step.load('two'))")
    (folder / "pipeline.toml").write_text(toml)
    done = call(root, "run", "fan", "--jobs", jobs, MEETING=str(tmp_path))
    assert done.returncode == 0, done.stderr
    one, two, total = list_runs(root)[0].manifests()
    assert sorted([one.metrics["met"], two.metrics["met"]]) == (
        [1, 1] if together else [0, 1]
    )  # the later sees the first
    assert total.metrics["total"] == 2


LEAKS = {  # each with a secret of its own; the last of a notebook ends it
    "talk": {
        "printed": "print(password)",
        "returned": "{'as': [password]}",
        "in pieces": "import sys\nfor letter in password:\n    print(letter, end='')\n    sys.stdout.flush()",
        "encoded": "from base64 import b64encode\nfrom urllib.parse import quote\nimport json\n"
        "print(b64encode(password.encode()).decode(), quote(password), json.dumps(password), repr(password))",
        "as HTML": "from IPython.display import HTML\nimport html\nHTML(html.escape(password))",
        "in a note": "step.note(password)",
        "from native code": "import os\nos.write(2, password.encode())",
        "as an attachment": "step.attach('said.txt', password)\nstep.attach('said.json', {'it': password})",
        "as a trial": "step.trial('x', {'password': password}, {'auc': 1})",
        "in an exception": "raise ValueError(f'cannot log in with {password}')",
    },
    "save": {
        "as an output": "step.save('password', password)",
    },
    "die": {
        "in a cell that is killed": "print(password)\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    },
}
SHOWN = ("printed", "returned", "in pieces", "encoded", "as HTML", "in a note", "in an exception")


def forms_of(secret: str) -> set[bytes]:
    "How a secret may be written."
    forms = {secret, secret.replace('"', '\\"'), quote(secret), quote(secret, safe="")}
    forms |= {b64encode(secret.encode()).decode(), secret.replace('"', "&quot;")}
    return {form.encode() for form in forms}


def test_a_secret_is_in_no_byte_that_a_run_leaves_behind(root, write):
    declared, environment, forms = "from pydantic import SecretStr\ntoken: SecretStr = 'secret://env/NOBODY'", {}, {}
    for step, leaks in LEAKS.items():
        cells = [USE, "token = step.secret(token).get_secret_value()"]
        for name, does in leaks.items():
            variable = f"SECRET_{len(environment)}"
            environment[variable] = f'correct/horse "{name}" staple'
            forms[name] = forms_of(environment[variable])
            cells.append(f"password = step.secret('secret://env/{variable}').get_secret_value()\n{does}")
        write(root / "pipelines" / "leak" / f"0_{step}.ipynb", *cells, parameters=declared)
    environment["TOKEN"], forms["as a parameter"] = SECRET, forms_of(SECRET)
    done = call(root, "run", "leak", "--jobs", "3", "-p", "token=secret://env/TOKEN", **environment)
    assert done.returncode == 1, done.stderr
    (run,) = list_runs(root)
    assert [m.failure.error for m in run.manifests()] == ["KernelDied", "DataError", "ValueError"]
    assert [m.parameters for m in run.manifests()] == [{"token": "secret://env/TOKEN"}] * 3
    places = {str(p): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    places |= {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    found = {
        (name, p) for name, ways in forms.items() for p, content in places.items() if any(w in content for w in ways)
    }
    assert found == set()
    notebook = nbformat.read(run.folder / "talk" / "0_talk.ipynb", 4)
    shown = dict(
        zip(LEAKS["talk"], [str(cell.outputs) for cell in notebook.cells if "SECRET_" in cell.source], strict=True)
    )
    assert [name for name in SHOWN if "***" not in shown[name]] == []


def test_a_plain_value_for_a_secret_is_refused_and_not_repeated(root, write):
    declared = "from pydantic import SecretStr\ntoken: SecretStr = 'secret://env/NOBODY'"
    write(root / "pipelines" / "leak" / "01_leak.ipynb", USE, "1", parameters=declared)
    done = call(root, "run", "leak", "-p", f"token={SECRET}")
    assert done.returncode == 2
    assert "secret://env/" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_a_missing_secret_stops_the_step_before_its_kernel_starts(root, write):
    declared = "from pydantic import SecretStr\ntoken: SecretStr = 'secret://env/NOBODY'"
    write(root / "pipelines" / "leak" / "01_leak.ipynb", USE, "1", parameters=declared)
    done = call(root, "run", "leak")
    assert done.returncode == 1
    assert "NOBODY" in done.stderr
    assert list_runs(root)[0].manifests()[0].peak_memory == 0


def test_a_failed_kernel_is_kept_for_whoever_debugs_it(root, write):
    write(root / "pipelines" / "bad" / "01_bad.ipynb", USE, "rows = 462", "rows / 0")
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    command = [COMMAND, "run", "bad", "--debug", "5"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean)
    said = ""
    while "Ctrl-D" not in said:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        said += line
    (lock,) = (root / ".mlops_nb" / "cache" / "locks").iterdir()
    assert not is_locked(lock)  # nobody has to wait for a step that has failed
    connection = re.search(r"--existing '([^']+)'", said)[1]
    client = BlockingKernelClient(connection_file=connection)
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=30)
    reply = client.execute("", user_expressions={"rows": "rows"}, reply=True, timeout=30)
    assert reply["content"]["user_expressions"]["rows"]["data"]["text/plain"] == "462"
    assert Path(re.search(r"connection_dir='[^']+' '([^']+)'", said)[1]).is_file()
    client.shutdown()
    client.stop_channels()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1, stderr
    assert "ZeroDivisionError" in stderr
    assert not Path(connection).exists()
    (run,) = list_runs(root)
    assert run.manifests()[0].failure.cell == 4


def test_ctrl_c_ends_the_wait_beside_a_failed_kernel(root, write):
    write(root / "pipelines" / "bad" / "01_bad.ipynb", USE, "1 / 0")
    clean = {k: v for k, v in os.environ.items() if k not in VARIABLES}
    process = subprocess.Popen(
        [COMMAND, "run", "bad", "--debug"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean,
    )
    while "Ctrl-D" not in process.stdout.readline():
        assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    (run,) = list_runs(root)
    assert read_run(run.id, root).manifests()[0].failure.error == "ZeroDivisionError"
