"""The preview shows what the notebooks hold, and refuses what must not be published."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import build_docs
import pytest
from docs_project import PIXEL, ROOT, printed, result, write_notebook
from docsite import SiteError, tree
from docsite.check import PageText, check_notebook, check_site
from docsite.config import make_sidebar, merge, sidebar_pages


@pytest.fixture(scope="module")
def site(whole_project, tmp_path_factory):
    "The built site; and nothing else has changed."
    whole_project = Path(shutil.copytree(whole_project, tmp_path_factory.mktemp("site") / "a project"))
    before = {path for path in whole_project.rglob("*") if path.is_file()}
    said = build_docs.build_site(whole_project, preview=True)
    assert said == "3 pages in _docs, made by pandoc, a preview"
    docs = whole_project / "_docs"
    assert {path for path in whole_project.rglob("*") if path.is_file() and docs not in path.parents} == before
    return docs


def read(site, name):
    return (site / name).read_text(encoding="utf-8")


# -- what a page holds -------------------------------------------------------------------------------------------------
def test_every_page_says_that_it_is_a_preview(site):
    for path in site.rglob("*.html"):
        assert "preview made by pandoc" in path.read_text(encoding="utf-8").rpartition("<footer>")[2]


def test_a_page_has_landmarks_and_tells_where_it_is(site):
    page = read(site, "pipelines/heart/ingest.html")
    for mark in ("<main", "<header", "<footer", 'aria-label="Pages"', 'class="skip" href="#text"', 'lang="en"'):
        assert mark in page
    assert '<a href="ingest.html" aria-current="page">Ingest</a>' in page
    assert "<h1>Ingest</h1>" in page
    assert 'rel="prev">← errors' in page
    assert 'rel="next"' not in page


def test_nothing_comes_from_the_network(site):
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert 'src="http' not in text
            assert "@import" not in text
            assert 'rel="stylesheet" href="http' not in text


def test_links_between_notebooks_lead_to_pages(site):
    assert 'href="errors.html#shapes"' in read(site, "index.html")
    assert 'href="../../errors.html"' in read(site, "pipelines/heart/ingest.html")
    assert 'href="https://github.com/mlops-nb/mlops_nb/blob/main/nbs/notes.md"' in read(site, "index.html")


def test_names_in_backticks_lead_to_what_there_is(site):
    index = read(site, "index.html")
    assert 'href="errors.html#area"' in index
    assert 'href="errors.html#shape"' in index  # a method has no heading of its own
    assert "_secret</code></a>" not in read(site, "errors.html")


def test_the_signature_of_a_class_that_comes_later_is_shown(site):
    assert "Shape" in read(site, "errors.html").partition('id="area"')[2].partition("<h3")[0]


def test_signatures_hold_no_links(site):
    signature = read(site, "errors.html").partition('id="area"')[2].partition("</pre>")[0]
    assert "Measured by `Shape`" in signature


def test_outputs_are_shown_in_their_richest_form(site):
    page = read(site, "errors.html")
    assert "```\n  fenced" in page
    assert "<td>cell</td>" in page
    assert 'class="cell-html paper"><b style' in page
    assert "only this" in page
    assert "never this" not in page
    assert "print('x')" not in page
    assert "<math" in page


def test_every_picture_has_a_text(site):
    page = read(site, "errors.html")
    assert 'alt="Picture: Shapes"' in page
    assert 'alt="Two "' in page
    assert "<figcaption>Caption &amp; all</figcaption>" in page
    assert (site / "00_errors_files" / "picture-2.png").read_bytes().startswith(b"\x89PNG")


def test_callouts_keep_title_and_kind(site):
    page = read(site, "index.html")
    assert 'class="warning callout"' in page
    assert "Mind the step" in page


def test_the_search_knows_every_section(site):
    entries = json.loads(read(site, "search.js").removeprefix("const SECTIONS = ").rstrip(";\n"))
    found = {entry["href"]: entry for entry in entries}
    assert found["errors.html#shapes"]["section"] == "Shapes"
    assert found["pipelines/heart/ingest.html#read"]["title"] == "Ingest"


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            ("1/0", [{"output_type": "error", "ename": "ZeroDivisionError", "evalue": "x", "traceback": []}]),
            "is an error",
        ),
        (("#| fig_alt: x\n1", []), "unknown cell option `fig_alt`"),
        (("#| exprot\n1", []), "unknown cell option `exprot`"),
        (("#| echo\n1", []), ""),
        (("import os\nx = os.getcwd()", []), "imports stand beside other code"),
        (("def f():\n    import os\n    return os", []), ""),
        (("#| eval: false\nimport os\nx = 1", []), ""),
    ],
)
def test_a_notebook_that_would_spoil_its_page(tmp_path, cell, said):
    path = write_notebook(tmp_path / "one.ipynb", "# one", ("#| export\ndef g(): pass", []), cell)
    found = check_notebook(path, "one.ipynb")
    assert [line for line in found if said in line] if said else not found


@pytest.mark.parametrize(
    ("first", "lost"),
    [
        ("# one\n\n> What it is\n\n- status: new", False),
        ("# one\n\n> What it is\n\nWhy it is.", True),
        ("# one", False),
    ],
)
def test_what_the_first_cell_says_beyond_its_description_is_not_lost_in_silence(tmp_path, first, lost):
    found = check_notebook(write_notebook(tmp_path / "one.ipynb", first, ("1", [])), "one.ipynb")
    assert any("would not be on the page" in line for line in found) == lost


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<a href="gone.html">x</a>', "the link to gone.html leads nowhere"),
        ('<a href="two.html#gone">x</a>', "nothing there has this id"),
        ('<a href="#gone">x</a>', "nothing there has this id"),
        ('<a href="two.html#here">x</a><a href="https://example.org/gone">x</a>', None),
        ('<img src="two.html">', "has no alt text"),
        ("<p>::: {.callout-note}</p>", "a fence of colons leaked"),
        ("<p>see @fig-roc</p>", "a cross reference"),
        ("<p>[x](https://example.org)</p>", "a link leaked"),
        ("<p>Equation {#eq-one}</p>", "an attribute leaked"),
        ("<p>Examples:\b</p>", "a control character leaked"),
        ("<pre>::: {.callout-note} @fig-roc</pre><p>a list[int](x) and me@example.org</p>", None),
    ],
)
def test_a_page_that_must_not_be_published(tmp_path, text, said):
    (tmp_path / "one.html").write_text(f"<main><h1>x</h1>{text}</main>")
    (tmp_path / "two.html").write_text('<main><p id="here"></p></main>')
    found = check_site(tmp_path)
    assert [line for line in found if said in line] if said else not found


def test_all_broken_links_are_told_at_once_and_the_old_site_stays(project):
    (project / "_docs").mkdir()
    (project / "_docs" / "old.html").write_text("old")
    write_notebook(project / "nbs" / "05_links.ipynb", "# links\n\n> x", "[a](gone.ipynb) [b](../secret.txt)")
    with pytest.raises(SiteError) as failure:
        build_docs.build_site(project, preview=True)
    assert "05_links.ipynb: the link to gone.ipynb leads nowhere" in str(failure.value)
    assert "05_links.ipynb: the link to ../secret.txt leads nowhere" in str(failure.value)
    assert (project / "_docs" / "old.html").exists()


def test_two_notebooks_that_make_the_same_page_are_named(project):
    write_notebook(project / "nbs" / "07_errors.ipynb", "# errors too\n\n> x")
    with pytest.raises(SiteError, match=r"00_errors\.ipynb and nbs/07_errors\.ipynb make the same page, errors\.html"):
        build_docs.build_site(project, preview=True)


def test_a_lesson_that_cannot_be_processed_is_named_with_its_cause(project):
    write_notebook(project / "nbs" / "05_bad.ipynb", "# bad\n\n> x", ("#| export\nimport no_such_module", []))
    with pytest.raises(SiteError, match=r"(?s)nbs/05_bad\.ipynb.*No module named 'no_such_module'"):
        build_docs.build_site(project, preview=True)


def test_an_unknown_callout_is_named():
    with pytest.raises(SiteError, match="no call-out `hint`; choose one of note, tip"):
        tree.change_callouts(tree.parse("::: {.callout-hint}\nx\n:::"))


# -- the real Quarto, whose place a script takes here ------------------------------------------------------------------
def fake_quarto(folder: Path, script: str, monkeypatch) -> None:
    folder.mkdir()
    (folder / "quarto").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "quarto").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_quarto_is_used_where_it_is_installed(project, tmp_path, monkeypatch):
    read = "cat ../_quarto.yml nbdev.yml sidebar.yml >/dev/null"
    script = f'{read} && mkdir _docs && echo "<main>$*</main>" > _docs/index.html'
    fake_quarto(tmp_path / "bin", script, monkeypatch)
    assert build_docs.build_site(project, preview=False) == "1 pages in _docs, made by Quarto"
    assert "render --no-cache" in (project / "_docs" / "index.html").read_text()


def test_what_quarto_says_when_it_fails_is_shown(project, tmp_path, monkeypatch):
    fake_quarto(tmp_path / "bin", "echo 'ERROR: no such theme' >&2; exit 1", monkeypatch)
    with pytest.raises(SiteError, match="no such theme"):
        build_docs.build_site(project, preview=False)


# -- small parts -------------------------------------------------------------------------------------------------------
def test_the_sidebar_follows_the_folders():
    names = ["90_cli.ipynb", "extra/1.ipynb", "data/10_b.ipynb", "data/00_a.ipynb", "index.ipynb", "00_errors.ipynb",
             "pipelines/wine/1.ipynb"]  # fmt: skip
    sidebar = make_sidebar(names)
    titles = [item if isinstance(item, str) else item["section"] for item in sidebar]
    assert titles == ["index.ipynb", "Basics", "Data", "What you call", "Extra", "The wine pipeline"]
    assert sidebar_pages(sidebar)[:4] == ["index.ipynb", "00_errors.ipynb", "data/00_a.ipynb", "data/10_b.ipynb"]
    assert sorted(sidebar_pages(sidebar)) == sorted(names)


def test_configuration_is_merged_as_quarto_does():
    below, above = {"a": {"b": 1, "c": [1, 2]}, "d": 1}, {"a": {"c": [2, 3]}, "d": 2}
    assert merge(below, above) == {"a": {"b": 1, "c": [1, 2, 3]}, "d": 2}


def test_the_text_of_a_page_leaves_styles_and_code_out_of_the_prose():
    page = PageText("<main><style>p {}</style><h2 id=a>Head</h2><p>Text<br>more</p><pre>code</pre></main><p>after</p>")
    assert page.prose == "HeadTextmore"
    assert page.search_entries("x.html", "X") == [
        {"href": "x.html#a", "title": "X", "section": "Head", "text": "Textmorecode"}
    ]


def test_the_command_fails_with_a_message_and_no_traceback(project, monkeypatch, capsys):
    write_notebook(project / "nbs" / "05_bad.ipynb", "# bad", ("#| exprot\n1", [printed("x"), result(png=PIXEL)]))
    monkeypatch.setattr(build_docs, "ROOT", project)
    monkeypatch.setattr("sys.argv", ["build_docs.py"])
    assert build_docs.main() == 1
    assert "build_docs: these notebooks cannot become pages: 1 problem(s)" in capsys.readouterr().err


def test_the_scripts_explain_themselves():
    ran = subprocess.run(
        [os.sys.executable, ROOT / "tools" / "build_docs.py", "--help"], capture_output=True, text=True
    )
    assert ran.returncode == 0
    assert "--readme" in ran.stdout
