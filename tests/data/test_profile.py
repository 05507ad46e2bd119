"A profile is quiet, offline and honest about its sample, also of odd data."

import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from mlops_nb.data import profile
from mlops_nb.data.profile import profile_html
from mlops_nb.errors import DataError

QUIET = """
import socket, subprocess
def refuse(*args, **options): raise SystemExit(f"reached out: {args}")
socket.socket.connect = socket.getaddrinfo = subprocess.Popen = refuse
import pandas as pd
from mlops_nb.data.profile import profile_html
df = pd.DataFrame({"x": range(50), "null": None, "const": 1, "text": ["a", "b"] * 25, "t": pd.Timestamp("2024-01-01")})
page = profile_html(df, "odd", minimal=False)
assert "packages.ydata.ai" not in page
"""


def test_nothing_on_the_screen_and_nothing_on_the_wire():
    done = subprocess.run([sys.executable, "-W", "error", "-c", QUIET], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_long_and_wide_data_is_sampled_and_minimal(monkeypatch):
    asked = []

    class Fake:
        def __init__(self, df, **options):
            asked.append((len(df), options["minimal"], options["title"]))

        def to_html(self):
            return "page"

    monkeypatch.setattr(profile, "_profiler", lambda: Fake)
    profile_html(pd.DataFrame({"x": range(100)}), "small")
    profile_html(pd.DataFrame({"x": range(250_000)}), "long")
    profile_html(pd.DataFrame(np.zeros((10, 30))).add_prefix("x"), "wide")
    profile_html(pd.DataFrame({"x": range(250_000)}), "asked", minimal=False, sample=10)
    profile_html(pd.DataFrame({"x": range(5)}), "fewer", sample=10)
    assert asked == [
        (100, False, "small"),
        (100_000, True, "long (random sample: 100,000 of 250,000 rows)"),
        (10, True, "wide"),
        (10, False, "asked (random sample: 10 of 250,000 rows)"),
        (5, False, "fewer"),
    ]


def test_the_title_is_text():
    page = profile_html(pd.DataFrame({"x": [1, 2]}), "</title><script>alert(1)</script>", minimal=True)

    class Scripts(HTMLParser):
        inside, text = False, ""

        def handle_starttag(self, tag, attrs):
            self.inside = tag == "script"

        def handle_data(self, data):
            self.text += data if self.inside else ""

    parser = Scripts()
    parser.feed(page)
    assert parser.text
    assert "alert(1)" not in parser.text


def test_nothing_to_profile():
    for df in (pd.DataFrame(), pd.DataFrame({"x": []}), pd.DataFrame([[1, 2]], columns=["x", "x"])):
        with pytest.raises(DataError):
            profile_html(df, "nothing")
