"""What a benchmark prints, and keeps for the site: tables, and a line for each bar."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FOLDER = Path(__file__).parent / "results"


def machine() -> dict:
    "What it ran on."
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in about.splitlines() if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


@dataclass
class Report:
    "The results of one benchmark."

    name: str
    rounds: int = 1
    tables: dict[str, list[dict]] = field(default_factory=dict)  # Rows by the name of the case
    ratios: list[dict] = field(default_factory=list)  # name, value, bar: larger is better

    def table(self, case: str, rows: list[dict]) -> None:
        "Print the rows of a case, all with the same columns, and keep them."
        self.tables[case] = rows
        shown = [[*rows[0]], *([_text(v) for v in row.values()] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
        print(f"\n{case}")
        for cells in shown:
            first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
            print("  " + "  ".join([cells[0].ljust(len(first)), *rest]), flush=True)

    def ratio(self, name: str, value: float, bar: float) -> None:
        "Print how a value stands to its bar; larger is better."
        self.ratios.append({"name": name, "value": round(value, 3), "bar": round(bar, 3)})
        print(f"RATIO {name} {value:.2f} {bar:.2f}", flush=True)

    def save(self) -> Path:
        "Keep the results for the site; cases that were measured on the same machine and day stay beside them."
        path, fresh = FOLDER / f"{self.name}.json", asdict(self)
        here = {"machine": machine(), "date": datetime.now(UTC).date().isoformat()}
        known = json.loads(path.read_text()) if path.exists() else {}
        if {name: known.get(name) for name in here} != here:
            known = {"tables": {}, "ratios": []}
        fresh["tables"] = known["tables"] | self.tables
        measured = {ratio["name"] for ratio in self.ratios}
        fresh["ratios"] = [r for r in known["ratios"] if r["name"] not in measured] + self.ratios
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(fresh | here, indent=1) + "\n")
        return path


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
