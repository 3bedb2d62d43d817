"""TRL's own virtual environment: made on demand beside this file, or one that the user names."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from simpo.errors import RecipeError, RunFailed

HERE = Path(__file__).parent
CONSTRAINTS = HERE.parent / "constraints.txt"
VENV = HERE / ".venv-trl"
TRL = "trl==1.16.*"

Report = Callable[[str], None]


def find_trl_python(named: Path | None, report: Report) -> Path:
    """The Python that runs TRL: the user's, checked, or our own environment's, made if it is missing.

    Raises RecipeError where the named one has no TRL, RunFailed where pip cannot install it.
    """
    if named is None:
        return _own_environment(report)
    # Not resolved: the python of a virtual environment is a link, and is itself only under its own name.
    python = named.absolute()
    probe = "import importlib.metadata as m; print(m.version('trl'), m.version('peft'))"
    try:
        done = subprocess.run([str(python), "-c", probe], capture_output=True, text=True)
    except OSError as error:
        raise RecipeError(f"cannot be run: {error.strerror}", where=str(named)) from None
    if done.returncode != 0:
        raise RecipeError(
            "this Python has no TRL with peft",
            where=str(named),
            fix=f"install them there (pip install '{TRL}' peft), or leave --trl-python out",
        )
    return python


def requirements() -> tuple[str, ...]:
    """What pip installs, torch first: the versions that our own constraints name, so that both sides run the same."""
    pinned = re.search(r"^torch==\S+$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
    if pinned is None:
        raise RunFailed("no torch is pinned", where=str(CONSTRAINTS))
    return (pinned.group(), TRL, "peft")


def _own_environment(report: Report) -> Path:
    python, marker = VENV / "bin" / "python", VENV / ".installed"
    wanted = "\n".join((*requirements(), CONSTRAINTS.read_text(encoding="utf-8")))
    if python.exists() and marker.exists() and marker.read_text(encoding="utf-8") == wanted:
        return python
    report(f"TRL: installing {TRL} into {VENV.relative_to(HERE.parent)} (a few minutes, once)")
    shutil.rmtree(VENV, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(VENV)])
    torch, *rest = requirements()
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch by itself: pinned, pip takes a CPU build where one is at hand; resolved with the rest it may fetch
    # gigabytes of CUDA libraries.
    _run([*pip, torch])
    _run([*pip, "-c", str(CONSTRAINTS), *rest])
    marker.write_text(wanted, encoding="utf-8")
    return python


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        raise RunFailed(
            f"TRL's environment cannot be made: {lines[-1] if lines else 'no reason was given'}",
            where=" ".join(command[:4]),
            fix="connect to PyPI, or name a Python that has TRL: --trl-python PATH",
        )
