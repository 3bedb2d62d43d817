"""`make quickstart`: the whole journey on a real model, from tickets to an exported model and its report.

Finds SmolLM2-135M-Instruct, writes a small Harbor data set, teaches the model the desk's replies (SFT), aligns it with
SimPO, measures it before and after on held-out tickets, exports it, and ends with the figures and a page. What an
earlier call finished is used again; what one left half done is gone on with.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from simpo.cli.output import duration, note, print_error, print_text
from simpo.errors import SimpoError
from simpo.recipe import LoadedRecipe, load_recipe

ROOT = Path(__file__).parents[2]
DATA = Path("data/harbor-quickstart")
NUM_SFT, NUM_PAIRS = 1200, 1600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the journey; the exit status is the command line's."""
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__)
    parser.add_argument("--model", help="folder of SmolLM2-135M-Instruct, if you have one")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        journey(options.model)
    except SimpoError as error:
        print_error_of(error)
        return error.exit_status
    except KeyboardInterrupt:
        note("interrupted; `make quickstart` goes on where it stopped")
        return 130
    note(f"the journey took {duration(time.perf_counter() - began)} this time")
    return 0


def journey(model: str | None) -> None:
    """The six stations, each said before it begins."""
    from simpo.cli.report import print_summary
    from simpo.model.fetch import find_quickstart_model
    from simpo.report.build import build_report

    _station(1, "the model")
    folder = find_quickstart_model(model, report=note)
    _station(2, "Harbor Support: tickets, replies, and three annotators who disagree now and then")
    make_data()
    _station(3, "SFT: teach the model how the desk writes")
    sft = run_or_reuse("quickstart-sft", [f"model.name={folder}"])
    _station(4, "SimPO: teach it what the annotators prefer, and measure before and after")
    simpo = run_or_reuse("quickstart-simpo", [f"model.name={sft}"])
    _station(5, "export, and load it again with plain transformers")
    export = export_or_reuse(simpo)
    _station(6, "what came out")
    report = build_report(simpo)
    print_summary(simpo, False, {})
    print_text(f"report  {report}\nmodel   {export}")


def make_data() -> None:
    """Write the data set unless it is there; the same seed gives the same bytes."""
    from examples.harbor.generate import generate

    if (DATA / "truth.jsonl").exists():
        note(f"data: {DATA} from an earlier call")
        return
    generate(DATA, seed=0, num_sft=NUM_SFT, num_pairs=NUM_PAIRS)
    note(f"data: {NUM_SFT} resolutions and {NUM_PAIRS} preferences in {DATA}")


def run_or_reuse(recipe: str, overrides: list[str]) -> Path:
    """The run of a shipped recipe: an earlier one if it is finished, the rest of it if it is not, else a new one."""
    from simpo.cli.watch import Watch
    from simpo.runs.folder import RunFolder, is_run_folder
    from simpo.study.align import align, align_on

    loaded: LoadedRecipe = load_recipe(ROOT / "recipes" / f"{recipe}.yaml", overrides)
    folder = Path(loaded.recipe.output)
    if is_run_folder(folder):
        done = RunFolder(folder).lineage().get("status") == "done"
        note(f"run: {folder} from an earlier call" + ("" if done else ", to be gone on with"))
        with Watch() as watch:
            return align_on(folder, listen=watch.event, progress=watch.progress).path
    with Watch() as watch:
        return align(loaded, listen=watch.event, progress=watch.progress).path


def export_or_reuse(run: Path) -> Path:
    """The exported model of a run, written and checked unless an earlier call did."""
    from simpo.release.export import export_run

    if (run / "export.json").exists() and (run / "export" / "config.json").exists():
        note(f"export: {run / 'export'} from an earlier call")
        return run / "export"
    result = export_run(run, report=note)
    note(f"equal to the trained model on {result.parity.source}: {result.parity.words()}")
    return result.path


def _station(number: int, what: str) -> None:
    note(f"\n[{number}/6] {what}")


def print_error_of(error: SimpoError) -> None:
    """An error a person can mend, as the command line prints it."""
    from simpo.cli.output import Failure

    print_error(
        Failure(error.message, error.where, error.fix, error.exit_status, type(error).__name__), False
    )


if __name__ == "__main__":
    sys.exit(main())
