"""A model and its pairs by their ids on a hub: one that answers, on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

RECIPE = """
output: run
model:
  name: our-org/tiny
data:
  train: our-org/pairs
  limit_validation: 4
train:
  epochs: 1
  batch_size: 8
guard:
  prompts: 0
evaluate:
  generate: 0
"""


def test_a_recipe_that_names_model_and_pairs_by_hub_id_trains(tiny_model_dir: Path, tmp_path: Path) -> None:
    hub, here = tmp_path / "hub", tmp_path / "here"
    shutil.copytree(tiny_model_dir, hub / "our-org" / "tiny")
    pairs = hub / "datasets" / "our-org" / "pairs"
    pairs.mkdir(parents=True)
    rows = [
        {"prompt": f"Order {n}?", "chosen": f"It is on its way, {n}.", "rejected": "No."} for n in range(12)
    ]
    (pairs / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    here.mkdir()
    (here / "my.yaml").write_text(RECIPE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HOME": str(tmp_path / "cache")}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.hub", str(hub)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        environment["HF_ENDPOINT"] = server.stdout.readline().strip()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "simpo.cli.app", "train", "my.yaml", "--json"],
                cwd=here, env=environment, capture_output=True, text=True,
            )  # fmt: skip
        finally:
            server.terminate()
    assert done.returncode == 0, done.stderr
    run = json.loads((here / "run" / "run.json").read_text())
    assert run["status"] == "done"
    assert run["model"]["name"] == "our-org/tiny"
    assert run["data"]["train"]["rows"] + run["data"]["validation"]["rows"] == len(rows)
