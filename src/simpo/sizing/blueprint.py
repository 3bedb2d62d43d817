"""A model from its configuration alone: its weights counted, and what a forward of it keeps. No weight is made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from simpo.errors import RecipeError
from simpo.model.attention import use_shared_attention
from simpo.model.lean import make_lean
from simpo.model.load import Policy, add_adapter
from simpo.model.pack import CannotShare
from simpo.model.shared import run_body
from simpo.model.trust import CHOKED
from simpo.recipe import Recipe
from simpo.records import Message, Pair, Source, TokenGroup
from simpo.train.budget import kept_bytes
from simpo.train.prepare import checkpoint_activations
from simpo.train.weight_bytes import SIZES

# Layers that are run to see what one more of them keeps; even numbers, for models whose layers take turns.
FEW_LAYERS, MORE_LAYERS = 2, 4


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of a model. total: without adapter. linear: in linear layers but the head. adapter: of an adapter.

    ends: in embedding, last norm and head, which FSDP2 keeps whole. layer: of the largest decoder layer. largest: of
    the largest single weight.
    """

    total: int
    linear: int
    adapter: int
    ends: int
    layer: int
    largest: int
    vocabulary: int
    hidden: int

    @property
    def trained(self) -> int:
        """The adapter's, or all where there is none."""
        return self.adapter or self.total


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that autograd keeps of a forward: `fixed` ones (casts of weights), `group` more for each typical group.

    layer: of the latter, a decoder layer's, which gradient checkpointing computes again.
    """

    fixed: float
    group: float
    layer: float


class Blueprint:
    """A model that exists as shapes alone, with the adapter and the precision of a recipe."""

    def __init__(self, config: Any, recipe: Recipe) -> None:
        self.config, self.recipe = config, recipe
        text = config.get_text_config()
        self.layers = int(text.num_hidden_layers)
        self.heads = int(text.num_attention_heads)
        self.kv_heads = int(getattr(text, "num_key_value_heads", None) or self.heads)
        self.width = int(getattr(text, "head_dim", None) or text.hidden_size // self.heads)

    @cached_property
    def model(self) -> Any:
        """The whole model on the meta device, its trained weights marked."""
        with torch.device("meta"):
            return self._made(self.config)

    @cached_property
    def counts(self) -> Counts:
        model = self.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        head = base.get_output_embeddings()
        adapter = sum(p.numel() for name, p in model.named_parameters() if "lora_" in name)
        weights = {id(p): p for name, p in model.named_parameters() if "lora_" not in name}
        layers: Any = max(
            (m for m in base.modules() if isinstance(m, torch.nn.ModuleList)), key=len, default=[]
        )
        sizes = [sum(p.numel() for n, p in layer.named_parameters() if "lora_" not in n) for layer in layers]
        total = sum(p.numel() for p in weights.values())
        linear = sum(
            m.weight.numel()
            for n, m in base.named_modules()
            if isinstance(m, torch.nn.Linear) and m is not head and "lora_" not in n
        )
        return Counts(
            total, linear, adapter, total - sum(sizes), max(sizes, default=0),
            max(p.numel() for p in weights.values()), head.weight.shape[0], head.weight.shape[1],
        )  # fmt: skip

    def kept(self, group: TokenGroup, *, cuda: bool) -> Kept:
        """What a forward over typical groups keeps; fused attention on a GPU keeps keys and values of every branch.

        Two and four layers are run over one and two groups with fake tensors: what is kept is linear in both numbers.
        Raises RecipeError for a model that the shared scorer cannot serve.
        """
        few, more = min(FEW_LAYERS, self.layers), min(MORE_LAYERS, self.layers)
        checkpointing = self.recipe.train.gradient_checkpointing
        runs = {(n, count): self._run(n, group, count) for n in {few, more} for count in (1, 2)}
        fixed, each = {}, {}
        for n in {few, more}:
            each[n] = runs[n, 2] - runs[n, 1]
            fixed[n] = runs[n, 1] - each[n]
        steps = (self.layers - more) / max(1, more - few)
        more_each, more_fixed = each[more] - each[few], fixed[more] - fixed[few]
        layer = more_each / max(1, more - few)
        fused = self._fused_extra(group) if cuda else 0.0
        if checkpointing:
            plain = Blueprint(self.config, _with(self.recipe, gradient_checkpointing=False)).kept(
                group, cuda=cuda
            )
            return Kept(fixed[more] + steps * more_fixed, each[more] + steps * more_each, plain.layer)
        whole = each[more] + steps * more_each + self.layers * fused
        return Kept(fixed[more] + steps * more_fixed, whole, layer + fused)

    def _fused_extra(self, group: TokenGroup) -> float:
        """Bytes a layer keeps more where each branch has its own keys and values, repeated for every query head."""
        size = 2.0 if self.recipe.train.precision == "bf16" else SIZES[self.recipe.model.dtype]
        prompt, branches = len(group.prompt), [len(c) for c in group.completions]
        copies = prompt + sum(prompt + branch for branch in branches)
        tokens = prompt + sum(branches)
        return 2 * size * self.width * (self.heads * copies - self.kv_heads * tokens)

    def _run(self, layers: int, group: TokenGroup, count: int) -> float:
        config = copy.deepcopy(self.config)
        text = config.get_text_config()
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
        try:
            # Fake tensors on a CPU: the meta device knows no autocast.
            with torch.device("meta"):
                model = self._made(config)
            if self.recipe.train.lean_layers:
                make_lean(model)
            with FakeTensorMode():
                _become_fake(model)
                use_shared_attention(model)
                model.train()
                if self.recipe.train.gradient_checkpointing:
                    checkpoint_activations(model)
                cast = self.recipe.train.precision == "bf16"
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast):
                    return float(kept_bytes(model, lambda: run_body(model, [group] * count)))
        except (CannotShare, *CHOKED) as error:
            raise RecipeError(
                f"what a forward of this architecture keeps cannot be counted: {str(error).splitlines()[0]}",
                where=type(self.config).__name__,
            ) from None

    def _made(self, config: Any) -> Any:
        from transformers import AutoModelForCausalLM

        with _without_warnings():
            model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, self.recipe.model.dtype))
            if self.recipe.adapter.type == "none":
                return model
            device = torch.device("cpu")
            policy = Policy(model, None, device, "plan", Path(), "", frozenset())
            state = torch.get_rng_state()
            add_adapter(policy, self.recipe.adapter, base_folder=Path(), seed=0)
            torch.set_rng_state(state)
            return policy.model


def _become_fake(model: Any) -> None:
    """Put fake tensors of a CPU in the place of those on the meta device; weights that are one stay one."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    learns = isinstance(tensor, torch.nn.Parameter)
                    made[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if learns else fake
                table[name] = made[id(tensor)]


@contextmanager
def _without_warnings() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with(recipe: Recipe, **train: Any) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=train)})


def typical_group(prompt: int, chosen: int, rejected: int) -> TokenGroup:
    """A group of so many tokens, chosen and rejected unlike from their first."""
    ids = [
        np.full(length, token, dtype=np.int32) for token, length in ((1, prompt), (2, chosen), (3, rejected))
    ]
    pair = Pair((Message("user", "?"),), "a", "b", Source("typical", 1))
    return TokenGroup(ids[0], (ids[1], ids[2]), pair)
