"""What a plan is for: a GPU that is named, or the machine that is here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from simpo.errors import RecipeError
from simpo.model.load import choose_device
from simpo.train.budget import free_bytes

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Device:
    """What is planned for. total: bytes of one GPU, or of the CPU's memory. flops: bfloat16 operations a second."""

    name: str
    kind: str
    total: float
    flops: float | None = None


# Memory in units of 1e9 bytes as sold, and dense bfloat16 products a second, from the makers' data sheets.
GPUS = {
    "t4": (16, 65e12), "a10": (24, 125e12), "l4": (24, 121e12), "rtx3090": (24, 71e12), "rtx4090": (24, 165e12),
    "v100": (32, 125e12), "a100-40gb": (40, 312e12), "l40s": (48, 362e12), "a100": (80, 312e12),
    "h100": (80, 989e12), "h200": (141, 989e12), "b200": (180, 2250e12),
}  # fmt: skip


def plan_device(gpu: str | None, setting: str) -> Device:
    """The device that `--gpu` names (a size, `80GB`, or a name of the table), else the one of this machine.

    Raises RecipeError for a GPU that is neither.
    """
    if gpu is None:
        device = choose_device(setting)
        if device.type == "cuda":
            properties = torch.cuda.get_device_properties(device)
            return Device(properties.name, "cuda", float(properties.total_memory), _flops_of(properties.name))
        return Device("this machine's CPU", "cpu", float(free_bytes(torch.device("cpu")) or math.inf))
    known = GPUS.get(gpu.lower())
    if known is not None:
        return Device(gpu.lower(), "cuda", known[0] * 1e9, known[1])
    number = gpu.lower().removesuffix("gib").removesuffix("gb").removesuffix("g")
    try:
        size = float(number)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise RecipeError(f"--gpu {gpu!r} is no size like 80GB and none of {', '.join(GPUS)}")
    return Device(f"a GPU of {gpu}", "cuda", size * (GIB if "gib" in gpu.lower() else 1e9))


def _flops_of(name: str) -> float | None:
    words = name.lower().replace(" ", "")
    return next((flops for key, (_, flops) in GPUS.items() if key.partition("-")[0] in words), None)
