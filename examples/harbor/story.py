"""Harbor, told in full: the commands that made the figures of this example, one after another.

    python -m examples.harbor.story                  # all of them
    python -m examples.harbor.story sft compare      # some of them
    python -m examples.harbor.story --list           # only say what they are

Each can be typed by hand as it is printed. What an earlier call finished is used again, and what one left half done is
gone on with: to stop and come back another day is fine.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

RECIPES = "examples/harbor/recipes"
SFT = "runs/harbor-sft"

# A sweep sees fewer pairs than a run, so that its trials together take as long as a few runs.
TRIAL = "--set data.limit=96 --set data.limit_validation=64 --set train.evaluate_every=12 --set evaluate.generate=0"
WHOLE = "--set data.limit=240 --set data.limit_validation=48 --set train.evaluate_every=15 --set evaluate.generate=48"

COMMANDS: Mapping[str, str] = {
    "data": "python -m examples.harbor.generate --out data/harbor --seed 0",
    "sft": f"simpo train {RECIPES}/sft.yaml",
    "sweep-simpo": f"simpo sweep {RECIPES}/simpo.yaml --ranges {RECIPES}/simpo-ranges.yaml "
    f"--out runs/harbor-sweep-simpo {TRIAL}",
    "sweep-dpo": f"simpo sweep {RECIPES}/dpo.yaml --ranges {RECIPES}/dpo-ranges.yaml "
    f"--out runs/harbor-sweep-dpo {TRIAL}",
    "compare": "simpo compare "
    + " ".join(f"{RECIPES}/{name}.yaml" for name in ("simpo", "dpo"))
    + " --out runs/harbor-compare --seeds 0,1,2 --cost-steps 3",
    "compare-swept": "simpo compare runs/harbor-sweep-simpo/chosen.yaml runs/harbor-sweep-dpo/chosen.yaml"
    f" {WHOLE} --out runs/harbor-compare-swept --seeds 0,1,2 --cost-steps 0",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that are named, or all; the exit status is that of the first that fails."""
    parser = argparse.ArgumentParser(
        prog="story", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", nargs="*", metavar="STEP", help=f"of {', '.join(COMMANDS)}; default: all")
    parser.add_argument("--model", help="folder of SmolLM2-135M-Instruct, if you have one")
    parser.add_argument("--list", action="store_true", help="print the commands and run none")
    options = parser.parse_args(arguments)
    unknown = [step for step in options.steps if step not in COMMANDS]
    if unknown:
        parser.error(f"{unknown[0]!r} is none of {', '.join(COMMANDS)}")
    for step in options.steps or COMMANDS:
        command = command_of(step, options.model)
        print(f"\n{step}\n    {command}", flush=True)
        if not options.list and (status := run(step, command)):
            return status
    return 0


def command_of(step: str, model: str | None) -> str:
    """The command of a step, as one types it."""
    return COMMANDS[step] + (f" --set model.name={shlex.quote(model)}" if step == "sft" and model else "")


def run(step: str, command: str) -> int:
    """Run a command in the environment of this Python; an SFT that was begun is gone on with."""
    program, *words = shlex.split(command)
    if step == "data" and Path("data/harbor/truth.jsonl").exists():
        return 0
    if step == "sft" and (Path(SFT) / "run.json").exists():
        words = ["train", "--resume", SFT]
    tool = sys.executable if program == "python" else str(Path(sys.executable).with_name(program))
    return subprocess.run([tool, *words], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
