"What Docker and Kubernetes would be given: checked by their own rules, and its steps taken without them."

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import kubernetes_validate
import pandas as pd
import pytest
import yaml
from projects import HEART

from mlops_nb.errors import ConfigError, RegistryError
from mlops_nb.model import registry
from mlops_nb.serve.image import write_image
from mlops_nb.serve.manifests import PLACE

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.fixture
def champion(root, monkeypatch):
    "A project with a champion: its example rows."
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    registry.connect(root)
    monkeypatch.chdir(root)
    df = pd.read_csv(HEART / "data" / "saheart.csv")
    X = df[["age", "ldl"]]
    registry.register(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, df["chd"]), "heart", X)
    registry.promote("heart", 1, force=True, reason="the first one")
    return X


def words_after(dockerfile: str, instruction: str) -> list[str]:
    "The last exec form of an instruction."
    lines = [line.strip() for line in dockerfile.replace("\\\n", " ").splitlines()]
    found = [line for line in lines if line.startswith(f"{instruction} ") and line.endswith("]")]
    return json.loads(found[-1][found[-1].index('["') :])


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return line.getsockname()[1]


def test_docker_and_kubernetes_find_nothing_wrong(root, champion):
    for reference, more in (("heart@champion", {}), ("heart/1", {"replicas": 1, "most": 1, "port": 9000})):
        write_image(reference, root / "build", hashes=False, **more)
        for name in ("Dockerfile", "Dockerfile.mlflow"):
            done = subprocess.run([HADOLINT, root / "build" / name], capture_output=True, text=True)
            assert (done.returncode, done.stdout) == (0, "")
        for document in yaml.safe_load_all((root / "build" / "kubernetes.yaml").read_text()):
            kubernetes_validate.validate(document, "1.31", strict=True)
        assert subprocess.run(["sh", "-n", root / "build" / "install.sh"]).returncode == 0


def test_kubernetes_would_find_what_is_wrong(root, champion):
    write_image("heart", root / "build", hashes=False)
    deployment = list(yaml.safe_load_all((root / "build" / "kubernetes.yaml").read_text()))[2]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


def test_compose_names_only_what_is_there(root, champion):
    write_image("heart", root / "build", hashes=False)
    found = yaml.safe_load((root / "build" / "compose.yaml").read_text())
    for service in found["services"].values():
        assert ("image" in service) or ("build" in service)
        assert set(service.get("depends_on", {})) <= set(found["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in found["volumes"] or (root / "build" / source).is_file()
    text = (root / "build" / "compose.yaml").read_text()
    assert "${POSTGRES_PASSWORD" in text  # and no password
    assert str(root) not in "".join(path.read_text() for path in (root / "build").glob("*") if path.is_file())


def test_a_context_is_whole_or_not_there(root, champion, monkeypatch):
    write_image("heart", root / "build", hashes=False)
    before = sorted(path.relative_to(root) for path in (root / "build").rglob("*"))

    def fail(*_):
        raise OSError(28, "No space left on device")

    from mlops_nb.serve import image

    with monkeypatch.context() as patched:
        patched.setattr(image, "write_wheel", fail)
        with pytest.raises(OSError, match="No space"):
            write_image("heart", root / "build", hashes=False)
    assert sorted(path.relative_to(root) for path in (root / "build").rglob("*")) == before
    assert not list(root.glob(".build-*"))
    for path in root.glob("mlartifacts/**/model.skops"):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(RegistryError, match="were changed"):
        write_image("heart", root / "other", hashes=False)
    assert not (root / "other").exists()
    (root / "mine").mkdir()
    (root / "mine" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="other files"):
        write_image("heart", root / "mine", hashes=False)


@pytest.mark.timeout(900)
def test_the_steps_of_the_image_make_an_endpoint_that_answers_without_a_registry(root, champion, tmp_path):
    port = free_port()
    context = write_image("heart@champion", root / "build", port=port)
    assert context.hashed
    assert (root / "build" / "requirements.lock").read_text().count("--hash=sha256:") > context.packages
    dockerfile = (root / "build" / "Dockerfile").read_text()
    clean, state = tmp_path / "clean", tmp_path / "state"
    clean.mkdir()
    places = {"/build": str(root / "build"), "/opt/endpoint": str(clean / "endpoint"), PLACE: str(state)}
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "MLFLOW", "MLOPS"))}
    python = Path(sys.base_prefix) / "bin"

    def taken(words: list[str]) -> list[str]:
        for inside, here in places.items():
            words = [word.replace(inside, here) if word.startswith(inside) else word for word in words]
        return words

    install = subprocess.run(
        taken(words_after(dockerfile, "RUN")), cwd=clean, capture_output=True, text=True,
        env=bare | {"PATH": f"{python}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert install.returncode == 0, install.stderr[-2000:]
    assert "mlops-nb, version" in install.stdout
    subprocess.run(["cp", "-R", root / "build" / "state", state], check=True)
    expected = registry.load_model("heart").predict_proba(champion.head(20))[:, 1].tolist()
    (root / "mlflow.db").unlink()  # there is no way back
    inside = bare | {"PATH": f"{clean}/endpoint/bin:{os.environ['PATH']}", "MLOPS_NB_HOME": str(state)}
    inside |= {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    command = ["127.0.0.1" if word == "0.0.0.0" else word for word in taken(words_after(dockerfile, "CMD"))]
    with (tmp_path / "said").open("w") as said:
        endpoint = subprocess.Popen(command, cwd=state, env=inside, stdout=said, stderr=said, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not is_ready(port):
            assert endpoint.poll() is None, (tmp_path / "said").read_text()[-3000:]
            assert time.monotonic() < deadline, (tmp_path / "said").read_text()[-3000:]
            time.sleep(0.2)
        health = subprocess.run(taken(words_after(dockerfile, "HEALTHCHECK")), env=inside)
        assert health.returncode == 0
        body = json.dumps({"records": champion.head(20).to_dict("records")}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
        answer = json.loads(urllib.request.urlopen(request, timeout=10).read())
        found = [each["probability"]["1"] for each in answer["predictions"]]
        assert (answer["version"], found) == (1, expected)
        os.killpg(endpoint.pid, signal.SIGTERM)
        assert endpoint.wait(30) == 0
        tidy = [clean / "endpoint" / "bin" / "mlops-nb", "predictions", "compact", state / "log"]
        done = subprocess.run(tidy, env=inside, cwd=state, capture_output=True, text=True)
        assert "folded 1 segments with 20 rows" in done.stdout, done.stderr
    finally:
        if endpoint.poll() is None:
            os.killpg(endpoint.pid, signal.SIGKILL)
            endpoint.wait()


def is_ready(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2).status == 200
    except (urllib.error.URLError, OSError):
        return False
