"""`simpo export`: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from simpo.cli import app
from tests.train.fixtures import no_waiting_for_disks, own_cache, workshop
from tests.train.made_up import Workshop

__all__ = ["no_waiting_for_disks", "own_cache", "workshop"]


def test_export_writes_the_model_says_how_equal_it_is_and_refuses_to_write_over_it(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    run = workshop.train("run", train={"max_steps": 2}, adapter={"type": "lora", "r": 2}).path
    assert app.main(["export", str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"wrote {run / 'export'}: merged weights in float32, step 2\n")
    assert "equal to the trained model on the run's data: largest difference of a logit" in captured.out
    assert "model.safetensors" in captured.out
    assert captured.err.splitlines()[0] == "loading the checkpoint"
    assert app.main(["export", str(run)]) == 2
    assert "--out" in capsys.readouterr().err


def test_with_json_the_result_is_one_object_with_the_hash_of_every_file(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = workshop.train("run", train={"max_steps": 2}).path, workshop.folder / "out"
    words = ["export", str(run), "--out", str(out), "--dtype", "bfloat16", "--json"]
    assert app.main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["path"], result["kind"], result["dtype"]) == (str(out), "full", "bfloat16")
    assert result["files"].keys() == {path.name for path in out.iterdir()}
    assert result["parity"]["tolerance"]["mean_kl"] > result["parity"]["mean_kl"] > 0
    assert app.main(["export", str(run), "--out", str(out / "b"), "--kind", "adapter", "--json"]) == 2
    assert "no adapter" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_checkpoint_that_does_not_verify_ends_with_4(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    run = workshop.train("run", train={"max_steps": 2}).path
    (weights,) = Path(run).glob("checkpoints/step-*/model/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert app.main(["export", str(run)]) == 4
    assert not (run / "export").exists()
    assert "not what was written" in capsys.readouterr().err
