"""Draw the newest run of this project as `nbs/images/run.svg`, the picture on the front page.

make run && .venv/bin/python tools/picture_of_run.py
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from rich.terminal_theme import MONOKAI

from mlops_nb.commands.tell import run_table, step_row
from mlops_nb.config import write_whole
from mlops_nb.run.record import list_runs

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    run = next((r for r in list_runs(ROOT) if r.status == "FINISHED" and len(r.steps) == 8), None)
    if run is None:
        print("there is no complete run to draw\n  fix: make run", file=sys.stderr)
        return 2
    console = Console(record=True, width=116, file=io.StringIO(), force_terminal=True)
    console.print(f"$ mlops-nb run heart\nrun [bold]{run.id[:8]}[/] of {run.pipeline}\n", highlight=False)
    console.print(run_table([step_row(m.step, m) for m in run.manifests()]))
    for manifest in run.manifests():
        for note in manifest.notes:
            console.print("", Markdown(note))
    console.print(f"\nfinished in {run.seconds:.1f} s", highlight=False)
    picture = console.export_svg(title="mlops-nb run heart", theme=MONOKAI, unique_id="run")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)  # no font from the network
    picture = "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"
    print(write_whole(ROOT / "nbs" / "images" / "run.svg", picture).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
