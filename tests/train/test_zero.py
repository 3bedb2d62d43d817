"""What a DeepSpeed that is broken or too old comes to: told before anything is loaded, and no traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from simpo.errors import RecipeError
from simpo.train.zero import import_deepspeed

CPU = torch.device("cpu")
BROKEN = 'raise RuntimeError("CUDA_HOME does not exist,\\nunable to compile CUDA op(s)")\n'
BARE = "class ops:\n    __compatible_ops__ = {}\n__version__ = %r\n"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a module `deepspeed` of this source before any other."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "deepspeed"]:
        monkeypatch.delitem(sys.modules, name)

    def put(source: str) -> None:
        (tmp_path / "deepspeed.py").write_text(source)
        monkeypatch.setitem(sys.modules, "deepspeed", None)  # forgotten again when the test ends
        del sys.modules["deepspeed"]

    return put


def test_one_that_cannot_be_imported_is_told_in_a_line(install: Callable[[str], None]) -> None:
    install(BROKEN)
    with pytest.raises(RecipeError, match="deepspeed cannot be imported: CUDA_HOME") as refusal:
        import_deepspeed(CPU, 2)
    assert refusal.value.message.endswith("CUDA_HOME does not exist,"), "its first line, not the rest"
    assert refusal.value.fix is not None and "fsdp2" in refusal.value.fix


@pytest.mark.parametrize("version", ["0.18.9", "0.19.7", "0.19"])
def test_one_that_cannot_sum_is_refused_with_the_oldest_that_can(
    version: str, install: Callable[[str], None]
) -> None:
    install(BARE % version)
    with pytest.raises(RecipeError, match=f"deepspeed {version} cannot sum") as refusal:
        import_deepspeed(CPU, 2)
    assert refusal.value.fix == "pip install 'deepspeed>=0.19.8'"


@pytest.mark.parametrize("version", ["0.19.8", "0.19.9+cpu", "0.20.0"])
def test_one_that_can_is_taken_and_compiles_nothing(version: str, install: Callable[[str], None]) -> None:
    install(BARE % version)
    assert import_deepspeed(CPU, 2).ops.__compatible_ops__ == {"deepspeed_shm_comm": False}
