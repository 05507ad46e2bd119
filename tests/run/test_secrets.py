"""Secrets: where they come from, how a missing one is told, and that none is left in what is shown or kept."""

import base64
import html
import json
import pickle
import urllib.parse
from importlib.metadata import EntryPoint

import pytest

from mlops_nb.errors import ConfigError
from mlops_nb.run import secrets
from mlops_nb.run.secrets import is_reference, known_secrets, mask, mask_notebook, remember_secret, resolve

ODD = "p\"w'd\\&/+é<\n€ 100%"


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    "Each test begins in a process that has read no secret."
    monkeypatch.setattr(secrets, "_known", set())


@pytest.fixture
def project(tmp_path):
    (tmp_path / "settings.ini").touch()
    (tmp_path / "pipelines").mkdir()
    return tmp_path


def plug_in(monkeypatch, reader):
    "Register `reader` for secret://vault/."

    class Entry(EntryPoint):
        def load(self):
            return reader

    entry = Entry(name="vault", value="vault:read", group=secrets.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry])


@pytest.mark.parametrize("text", ["secret://env/A", "secret://file//etc/token", "secret://my-vault/a/b?c#d"])
def test_what_is_a_reference(text):
    assert is_reference(text)


@pytest.mark.parametrize(
    "text", ["", "env/A", "secret://", "secret://env/", "secret:///A", "secret://env/A\n", 3, None]
)
def test_what_is_none(text):
    assert not is_reference(text)


@pytest.mark.parametrize("written", ["abc-def", "abc-def\n", "abc-def\r\n"])
def test_a_file_is_taken_from_the_project_and_loses_its_last_line_end(project, written):
    (project / "token").write_bytes(written.encode())
    found = resolve("secret://file/token", project / "pipelines")
    assert found.get_secret_value() == "abc-def"
    assert resolve(f"secret://file/{project / 'token'}").get_secret_value() == "abc-def"
    assert "abc" not in repr(found) + str(found)
    assert known_secrets() == {"abc-def"}


@pytest.mark.parametrize(
    ("reference", "content", "what", "fix"),
    [
        ("secret://env/NO_SUCH", None, "`NO_SUCH` is not set", "export NO_SUCH="),
        ("secret://env/EMPTY", None, "secret://env/EMPTY is empty", "value"),
        ("secret://env/BLANK", None, "secret://env/BLANK is empty", "value"),
        ("secret://env/SHORT", None, "fewer than 4 characters", "4 characters or more"),
        ("secret://file/token", None, "No such file", "write the secret into"),
        ("secret://file/token", b"\xff\xfe\xfa\xfb", "UTF-8", "write the secret into"),
        ("secret://file/token", b"\n", "is empty", "value"),
        ("secret://file/pipelines", None, "directory", "write the secret into"),
        ("secret://valt/x", None, "secret://valt/", "secret://vault/"),
        ("hunter22", None, "no reference", "secret://env/NAME"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told_with_its_place_and_a_fix(
    monkeypatch, project, reference, content, what, fix
):
    plug_in(monkeypatch, lambda path: "unused")
    for name, value in (("EMPTY", ""), ("BLANK", "  "), ("SHORT", "xyz")):
        monkeypatch.setenv(name, value)
    if content is not None:
        (project / "token").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        resolve(reference, project)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert "xyz" not in str(caught.value)
    assert "hunter22" not in str(caught.value)
    assert known_secrets() == frozenset()


def test_a_vault_plugs_in_by_its_scheme(monkeypatch):
    plug_in(monkeypatch, lambda path: f"value of {path}")
    assert resolve("secret://vault/team/db").get_secret_value() == "value of team/db"


def test_what_a_vault_says_when_it_fails_is_not_repeated(monkeypatch):
    def fail(path):
        raise RuntimeError("token hunter22 was refused")

    plug_in(monkeypatch, fail)
    with pytest.raises(ConfigError, match="RuntimeError") as caught:
        resolve("secret://vault/db")
    assert "hunter22" not in repr((caught.value, caught.value.__context__, caught.value.__cause__))
    plug_in(monkeypatch, lambda path: None)
    with pytest.raises(ConfigError, match="did not return a text"):
        resolve("secret://vault/db")


def test_a_short_secret_is_not_remembered():
    with pytest.raises(ConfigError, match="fewer than 4"):
        remember_secret("abc")
    assert known_secrets() == frozenset()


@pytest.mark.parametrize(
    "write",
    [
        str,
        json.dumps,
        lambda s: json.dumps(s, ensure_ascii=False),
        lambda s: json.dumps(json.dumps({"k": s})),
        repr,
        ascii,
        lambda s: repr(["'\"", s]),
        lambda s: repr(s + "'\""),
        lambda s: repr(s.encode()),
        urllib.parse.quote,
        lambda s: urllib.parse.quote(s, safe=""),
        urllib.parse.quote_plus,
        lambda s: urllib.parse.urlencode({"k": s}),
        lambda s: urllib.parse.quote(s).lower(),
        html.escape,
        lambda s: html.escape(s, quote=False),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
        lambda s: base64.b64encode(b"ann:" + s.encode() + b"@db").decode(),
        lambda s: base64.b64encode(b"a:" + s.encode()).decode(),
        lambda s: base64.b64encode(b"an:" + s.encode() + b"!").decode(),
    ],
)
@pytest.mark.parametrize("secret", ["hunter22", 'it\'s "odd"', ODD, "a+b/c==d~e", "ünïcödé-пароль"])
def test_every_usual_form_is_masked(write, secret):
    text = write(secret)
    masked = mask(f"before {text} after", [secret])
    assert "***" in masked
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    left = masked.removeprefix("before ").removesuffix(" after").replace("***", "")
    assert len(left) <= 16  # the quotes, braces and user names around it


def test_of_overlapping_secrets_nothing_is_left():
    assert mask("xabcdefghx", ["abcd", "bcdefgh"]) == "x***x"
    assert mask("abcdef abcd", ["abcd", "abcdef"]) == "*** ***"
    assert mask("aaaaaaaaa", ["aaaa"]) == "***"
    assert mask("******", ["****"]) == "***"


def test_masking_leaves_other_text_as_it_is():
    assert mask("nothing to hide", ["hunter22"]) == "nothing to hide"
    assert mask("text", []) == "text"
    assert mask("text", [""]) == "text"


def output(kind, **facts):
    return {"output_type": kind, **facts}


def test_no_corner_of_a_notebook_keeps_a_secret():
    secret = "hunter22"
    data = {
        "text/plain": ["hun", "ter22\n"],
        "text/html": f"<b>{secret}</b>",
        "application/json": {"rows": [{secret: [secret, 1, None]}]},
        "application/vnd.x+json": [f"a {secret}", "b"],
    }
    coloured = "\x1b[31mhun\x1b[39mter22\x1b[0m"
    notebook = {
        "metadata": {"papermill": {"parameters": {"token": secret, secret: 1}}},
        "cells": [
            {"cell_type": "markdown", "source": ["see hun", "ter22"], "metadata": {"tags": [secret]},
             "attachments": {"x": {"text/plain": secret}}},
            {"cell_type": "code", "source": f"login({secret!r})", "metadata": {}, "outputs": [
                output("stream", name="stdout", text="hun"),
                output("stream", name="stdout", text=["ter", "22\n"]),
                output("stream", name="stderr", text="hun"),
                output("stream", name="stdout", text="ter22"),
                output("display_data", data=data, metadata={"caption": secret}),
                output("error", ename="ValueError", evalue=f"bad {secret}", traceback=["line 1", f"got {coloured}"]),
            ]},
        ],
    }  # fmt: skip
    same = notebook["cells"][1]
    mask_notebook(notebook, [secret])
    assert notebook["cells"][1] is same
    assert secret not in json.dumps(notebook)
    outputs = same["outputs"]
    assert [o.get("text") for o in outputs[:3]] == ["***\n", "hun", "ter22"]
    assert outputs[3]["data"]["text/plain"] == "***\n"
    assert outputs[3]["data"]["application/json"] == {"rows": [{"***": ["***", 1, None]}]}
    assert outputs[3]["data"]["application/vnd.x+json"] == ["a ***", "b"]
    assert outputs[4]["traceback"] == ["line 1", "got ***"]
    assert notebook["cells"][0]["source"] == "see ***"
    assert notebook["metadata"]["papermill"]["parameters"] == {"token": "***", "***": 1}


def test_a_secret_of_digits_is_masked_where_json_holds_it_as_a_number():
    shown = output("display_data", data={"application/json": {"pin": 904817, "n": 9}}, metadata={})
    cell = {"cell_type": "code", "source": "", "metadata": {}, "outputs": [shown]}
    mask_notebook({"cells": [cell]}, ["904817"])
    assert cell["outputs"][0]["data"] == {"application/json": {"pin": "***", "n": 9}}


def test_a_masked_notebook_is_still_one():
    import nbformat

    v4 = nbformat.v4
    streams = [v4.new_output("stream", name="stdout", text=text) for text in ("hunt", "er22")]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=streams), v4.new_markdown_cell("hunter22")])
    mask_notebook(notebook, ["hunter22"])
    nbformat.validate(notebook)
    assert [o.text for o in notebook.cells[0].outputs] == ["***"]


def test_without_secrets_a_notebook_stays_as_it_is():
    notebook = {"cells": [{"cell_type": "code", "source": ["a\n", "b"], "outputs": [], "metadata": {}}]}
    before = pickle.dumps(notebook)
    mask_notebook(notebook, [])
    assert pickle.dumps(notebook) == before
