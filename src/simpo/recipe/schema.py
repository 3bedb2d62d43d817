"""The sections of a recipe and what each key may hold."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from simpo.core.methods import METHODS
from simpo.recipe.method import MethodRecipe
from simpo.recipe.section import Count, Files, Fraction, NonNegative, Positive, Section


class ModelRecipe(Section):
    """The policy to start from."""

    name: str = Field(min_length=1, description="Folder of a model, a run folder of ours, or a hub id.")
    revision: str | None = Field(None, description="Branch, tag or commit when `name` is a hub id.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Type in which the weights are held."
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa", description="Attention implementation of transformers."
    )
    trust_remote_code: bool = Field(
        False, description="Run Python code that ships with the model. Off unless you read it."
    )
    quantize: Literal["none", "nf4"] = Field(
        "none",
        description="`nf4` holds the frozen base under an adapter in 4 bits (QLoRA, arXiv:2305.14314); needs "
        "bitsandbytes. Its linear layers compute in `dtype`.",
    )
    pickled_weights: bool = Field(
        False,
        description="Read pytorch_model*.bin where the folder holds no safetensors, by torch's restricted unpickler. "
        "Off: a pickle can run code.",
    )


class AdapterRecipe(Section):
    """A LoRA adapter (peft); leave `type` at none for a full fine-tune."""

    type: Literal["none", "lora"] = Field(
        "none", description="`lora` trains an adapter, `none` every weight."
    )
    r: Count = Field(16, description="Rank of the adapter.")
    alpha: Positive = Field(32.0, description="LoRA alpha; the update is scaled by alpha / r.")
    dropout: Fraction = Field(0.0, description="Dropout on the adapter's input.")
    target: str | list[str] = Field(
        "all-linear", description="Modules to adapt: all-linear, or a list of names."
    )
    fused: bool = Field(
        True, description="Work out an adapted layer as one function; false leaves every layer to peft."
    )


class DataRecipe(Section):
    """The preferences (or SFT examples), how they are read and how they are rendered to tokens."""

    train: str | Files = Field(
        description="Training file, several files, a hub id (`name` or `name:split`), or the folder of a dataset "
        "version, whose validation and test splits then serve where no others are named."
    )
    validation: str | Files | None = Field(None, description="Validation file, files or hub id.")
    validation_fraction: Fraction = Field(
        0.05,
        description="Share of the prompts held out of `train` when no validation file is given; 0 for none.",
    )
    test: str | list[str] | None = Field(
        None,
        description="Pairs to measure the model on before and after training; without it the validation pairs serve, "
        "which also chose the checkpoint.",
    )
    limit: Count | None = Field(None, description="Use the first N training rows only.")
    limit_validation: Count | None = Field(None, description="Use the first N validation rows only.")
    limit_test: Count | None = Field(None, description="Use the first N test rows only.")
    on_bad_row: Literal["error", "drop"] = Field(
        "error",
        description="A row that cannot be used stops the command, or is left out, counted and reported.",
    )
    format: str | None = Field(
        None, description="Format of the files, by its name in docs/formats.md; none to recognise it."
    )
    columns: dict[str, str] | None = Field(
        None, description="The format's names of columns and yours: {prompt: question, chosen: best}."
    )
    pairing: Literal["best_worst", "all", "adjacent"] = Field(
        "best_worst",
        description="Which ranked or scored answers to a prompt make pairs: the best and the worst, every better one "
        "with every worse one, or each with the next worse one. Ties never.",
    )
    min_margin: NonNegative = Field(
        0.0,
        description="Leave out training pairs whose scores differ by less, in the unit of the file's scores or ranks; "
        "validation and test files keep theirs.",
    )
    template: str = Field(
        "model", description="`model` for the model's chat template, `none` for plain text, or a Jinja file."
    )
    max_length: Count = Field(2048, description="Longest prompt + completion in tokens.")
    overlong: Literal["drop", "error"] = Field(
        "drop", description="What happens to a row that does not fit; a completion is never cut."
    )
    trim_turns: bool = Field(
        False, description="Let a prompt lose whole oldest turns to fit (never its last user turn)."
    )
    sft_turns: Literal["all", "last"] = Field(
        "all", description="SFT only: which assistant turns of a conversation to train on."
    )


class TrainRecipe(Section):
    """The optimisation."""

    lr: Positive = Field(1e-6, description="Peak learning rate.")
    epochs: Positive = Field(1.0, description="Passes over the training rows; may be a fraction.")
    max_steps: Count | None = Field(
        None, description="Stop after this many optimizer steps, whatever `epochs` says."
    )
    batch_size: Count = Field(
        32, description="Pairs (or examples) of one optimizer step, over all ranks: the global batch."
    )
    micro_batch_size: Count | None = Field(
        None,
        description="Pairs of one forward and backward, where you would rather count pairs than tokens; changes memory "
        "and speed, not the result.",
    )
    tokens_per_microbatch: Count | Literal["auto"] | None = Field(
        None,
        description="Tokens of one forward and backward; `auto` (where neither is given) takes as many as make it "
        "fast, fewer where memory is short.",
    )
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Shape of the learning rate after warm-up."
    )
    warmup: Fraction = Field(0.1, description="Share of the steps spent warming up.")
    weight_decay: NonNegative = Field(0.0, description="AdamW weight decay.")
    adam_beta1: Fraction = Field(0.9, description="AdamW first moment decay.")
    adam_beta2: Fraction = Field(0.999, description="AdamW second moment decay.")
    max_grad_norm: Positive = Field(1.0, description="Gradients are clipped to this norm.")
    precision: Literal["float32", "bf16", "bf16_matmul"] = Field(
        "float32",
        description="`bf16` runs the forward under autocast; `bf16_matmul` keeps float32 tensors and lets a CPU with "
        "bfloat16 units multiply them in bfloat16. Log-softmax is float32 in every case.",
    )
    lean_layers: bool = Field(
        True,
        description="Let RMS norms and gated layers keep less for the backward and work out the rest again; the "
        "model's own numbers.",
    )
    rounding: Literal["master", "stochastic", "nearest"] | None = Field(
        None,
        description="How updates reach bfloat16 weights, which hold no change below 1/256 of themselves: through "
        "float32 `master` copies in the optimizer (where nothing is said), rounded at random without copies "
        "(`stochastic`, the least memory), or to the `nearest`, which loses small ones.",
    )
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw",
        description="`adamw_8bit` holds AdamW's two moments in 8 bits a number, by blocks of 256 (arXiv:2110.02861); "
        "needs torchao.",
    )
    offload_optimizer: bool = Field(
        False,
        description="Hold gradients, moments and float32 masters in the CPU's memory and step there: the same result, "
        "for GPUs that hold little more than the weights.",
    )
    scorer: Literal["auto", "plain", "shared"] = Field(
        "auto",
        description="`shared` packs each prompt once and never holds all logits, `plain` pads; `auto` takes the "
        "shared one once it has agreed with the plain one on this model and these rows.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recompute activations in backward: less memory, more time."
    )
    seed: int = Field(0, ge=0, description="Seed of everything: data order, adapter initialisation, dropout.")
    evaluate_every: Count | None = Field(
        None, description="Also evaluate every k steps (always at the end of an epoch)."
    )
    save_every: Count | None = Field(
        None, description="Save a checkpoint every k steps besides those at evaluations."
    )
    patience: Count | None = Field(
        None, description="Stop after this many evaluations without a better validation loss."
    )
    keep_checkpoints: Count = Field(
        1, description="How many of the newest checkpoints to keep; the best is kept besides."
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, `mps`.")

    @model_validator(mode="after")
    def _one_cut(self) -> TrainRecipe:
        if self.micro_batch_size is not None and self.tokens_per_microbatch is not None:
            raise ValueError("micro_batch_size and tokens_per_microbatch both cut a batch: give one")
        return self

    @model_validator(mode="after")
    def _one_way_to_hold_states(self) -> TrainRecipe:
        if self.offload_optimizer and self.optimizer != "adamw":
            raise ValueError("offload_optimizer holds float32 states: set optimizer: adamw, or leave it out")
        if self.offload_optimizer and self.rounding in ("stochastic", "nearest"):
            raise ValueError(
                f"offload_optimizer holds float32 masters: rounding {self.rounding} has no effect"
            )
        if self.optimizer == "adamw_8bit" and self.rounding == "master":
            raise ValueError("adamw_8bit keeps no masters: set rounding: stochastic")
        return self


class EvaluateRecipe(Section):
    """What is measured of the trained model, before and after."""

    generate: Annotated[int, Field(ge=0)] = Field(
        0, description="Held-out prompts to write replies for; 0 for none."
    )
    max_new_tokens: Count = Field(256, description="Longest reply in tokens.")
    temperature: NonNegative = Field(0.0, description="0 for greedy decoding.")
    batch_size: Count = Field(16, description="Prompts generated, or pairs scored, together.")
    judge: str | None = Field(None, description="A Python function `module:function` that scores a reply.")
    seed: int = Field(0, ge=0, description="Seed of sampling and of the bootstrap.")
    regression: dict[str, str] | list[str] | None = Field(
        None,
        description="Question files that the model should still answer, `{name: file}` or a list: final answers, "
        "multiple choice, verifiable instructions, refusals (docs/compare.md).",
    )
    limit_regression: Count | None = Field(
        None, description="Ask the first N questions of each regression set only."
    )


class GuardRecipe(Section):
    """What watches a preference run for collapse: replies to a handful of held-out prompts, at every evaluation."""

    prompts: Annotated[int, Field(ge=0)] = Field(
        8, description="Held-out prompts to write greedy replies for at each look; 0 for no guard."
    )
    every: Count | None = Field(
        None,
        description="Also look every k steps, besides the start, the evaluations and where the batches give cause.",
    )
    max_new_tokens: Count = Field(
        128,
        description="Longest reply in tokens; four times as many where fewer replies end than at the start.",
    )
    stop_on_collapse: bool = Field(
        True, description="End a collapsing run with status 5 and its best checkpoint from before."
    )
    feedback: str | None = Field(
        None,
        description="JSON lines from production with `override` and `escalation` (true or false) a reply; their rates "
        "are written down at the end of each epoch.",
    )


class ParallelRecipe(Section):
    """How several ranks (processes, one a GPU) share a run; one process has no use for it."""

    strategy: Literal["auto", "ddp", "fsdp2", "zero2", "zero3"] = Field(
        "auto",
        description="`ddp` keeps a copy of the weights on every rank, `fsdp2` a shard of weights, gradients and "
        "optimizer states, `zero2` (DeepSpeed's) a copy of the weights and a shard of the rest, `zero3` (too) a "
        "shard of everything. `auto` takes `ddp` unless weights, gradients and optimizer states would fill more than "
        "half of a GPU.",
    )


class TrackingRecipe(Section):
    """Where curves go besides events.jsonl."""

    tracker: Literal["wandb", "mlflow", "tensorboard", "trackio"] | None = Field(
        None, description="A tracker of accelerate."
    )
    project: str = Field("simpo", description="Project name in the tracker.")

    @model_validator(mode="after")
    def _stays_in_the_run(self) -> TrackingRecipe:
        """TensorBoard's project is a folder in the run folder; other trackers' names may hold slashes."""
        if self.tracker == "tensorboard" and (
            self.project in ("", ".", "..") or set(self.project) & set("/\\\0")
        ):
            raise ValueError(
                f"project {self.project!r} must be a plain name: TensorBoard makes a folder of it"
            )
        return self


class Recipe(Section):
    """One run. `output` is its folder."""

    output: str = Field(min_length=1, description="The run folder to write; it must not exist yet.")
    model: ModelRecipe
    data: DataRecipe
    adapter: AdapterRecipe = Field(default_factory=AdapterRecipe)
    method: MethodRecipe = Field(default_factory=MethodRecipe)
    train: TrainRecipe = Field(default_factory=TrainRecipe)
    evaluate: EvaluateRecipe = Field(default_factory=EvaluateRecipe)
    guard: GuardRecipe = Field(default_factory=GuardRecipe)
    tracking: TrackingRecipe = Field(default_factory=TrackingRecipe)
    parallel: ParallelRecipe = Field(default_factory=ParallelRecipe)

    @field_validator("output")
    @classmethod
    def _plain_output(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("a path cannot hold a NUL character")
        return value

    @model_validator(mode="after")
    def _parts_agree(self) -> Recipe:
        if self.train.rounding is not None and self.model.dtype != "bfloat16":
            raise ValueError("train.rounding has no effect while model.dtype is float32: remove it")
        if (
            self.train.optimizer == "adamw_8bit"
            and self.model.dtype == "bfloat16"
            and not self.train.rounding
        ):
            raise ValueError(
                "train.optimizer adamw_8bit keeps no float32 masters of bfloat16 weights: set "
                "train.rounding: stochastic"
            )
        if self.model.quantize != "none" and self.adapter.type == "none":
            raise ValueError("model.quantize freezes the weights: set adapter.type: lora")
        if self.method.reference == "adapter_off" and self.adapter.type == "none":
            raise ValueError("method.reference adapter_off needs an adapter: set adapter.type: lora")
        if not METHODS[self.method.name].pairwise:
            for key in ("pairing", "min_margin"):
                if getattr(self.data, key) != DataRecipe.model_fields[key].default:
                    raise ValueError(f"data.{key} has no effect with method {self.method.name}: remove it")
            if self.guard != GuardRecipe():
                raise ValueError(f"guard has no effect with method {self.method.name}: remove it")
        if self.adapter.type == "none":
            given = sorted(self.adapter.model_fields_set - {"type"})
            if given and any(
                getattr(self.adapter, key) != AdapterRecipe.model_fields[key].default for key in given
            ):
                raise ValueError(f"adapter.{given[0]} has no effect while adapter.type is none")
        return self

    @property
    def reference_mode(self) -> str | None:
        """How the reference is scored, or None for a method without one."""
        if not METHODS[self.method.name].reference:
            return None
        return self.method.reference or "precomputed"


def known_keys(model: type[Section] = Recipe) -> dict[str, tuple[type[Section], str]]:
    """Every dotted recipe key with the section class and field that define it."""
    keys: dict[str, tuple[type[Section], str]] = {}
    for name, info in model.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys.update({f"{name}.{leaf}": (section, leaf) for leaf in section.model_fields})
        else:
            keys[name] = (model, name)
    return keys
