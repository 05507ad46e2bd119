"""An environment for those whom we measure ourselves against, and for us: everybody as users install them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / ".peers"


def alone(name: str, *packages: str) -> Path:
    "The interpreter of an environment with these and what they need, for those who do not go with our versions."
    folder = PEERS / name
    program, mark, wanted = folder / "bin" / "python", folder / "packages", "\n".join(packages)
    if not mark.exists() or mark.read_text() != wanted:
        print(f"Installing {', '.join(packages)} into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        uv = [Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--compile-bytecode"]
        subprocess.run([*uv, "--python", program, *packages], check=True)
        mark.write_text(wanted)
    return program


def python(name: str, *packages: str) -> Path:
    "The interpreter of an environment with these, the project's locked packages, and the project as it is now."
    folder = PEERS / name
    program, mark = folder / "bin" / "python", folder / "packages"
    uv = [Path(sys.executable).parent / "uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", program]
    wanted = "\n".join([*packages, (ROOT / "requirements.lock").read_text()])
    if not mark.exists() or mark.read_text() != wanted:
        print(f"Installing {', '.join(packages)} and the locked packages into {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([*uv, "--no-deps", "-r", ROOT / "requirements.lock"], check=True)
        subprocess.run([*uv, "--constraint", ROOT / "requirements.lock", *packages], check=True)
        mark.write_text(wanted)
    subprocess.run([*uv, "--no-deps", "--reinstall-package", "mlops_nb", ROOT], check=True)
    return program
