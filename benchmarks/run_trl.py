"""TRL's side: `CPOTrainer` with loss_type simpo; prints one JSON line. Runs in TRL's own environment."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer  # type: ignore[import-not-found]
from trl.experimental.cpo import CPOConfig, CPOTrainer  # type: ignore[import-not-found]

from benchmarks.child import (
    ADAPTER_ALPHA,
    ADAPTER_R,
    DPO_BETA,
    MAX_LENGTH,
    Job,
    Measured,
    Meter,
    claim_stdout,
)


class StepWatch(TrainerCallback):  # type: ignore[misc]
    """Tells the meter when training begins and when each optimizer step ends."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.meter.start()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.meter.step_ended()


def config_of(job: Job, output: str) -> Any:
    """The job in TRL's words. Its simpo_gamma is beta * gamma: the loss subtracts simpo_gamma / beta."""
    if job.method == "simpo":
        method = {
            "loss_type": "simpo",
            "cpo_alpha": 0.0,
            "beta": job.beta,
            "simpo_gamma": job.beta * job.gamma,
        }
    else:
        method = {"beta": DPO_BETA, "precompute_ref_log_probs": job.method == "dpo_precomputed"}
    return (CPOConfig if job.method == "simpo" else DPOConfig)(
        **method,
        output_dir=output,
        label_smoothing=0.0,
        max_length=MAX_LENGTH,
        per_device_train_batch_size=job.setting.micro_batch_size,
        gradient_accumulation_steps=job.batch_size // job.setting.micro_batch_size,
        gradient_checkpointing=job.setting.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if job.setting.checkpointing else None,
        max_steps=job.steps,
        train_sampling_strategy="sequential",
        learning_rate=job.lr,
        lr_scheduler_type="constant",
        warmup_steps=0,
        optim="adamw_torch_fused",
        weight_decay=0.0,
        adam_beta1=0.9,
        adam_beta2=0.999,
        max_grad_norm=1.0,
        bf16=job.precision == "autocast",
        use_cpu=job.device == "cpu",
        logging_first_step=True,
        logging_steps=job.steps + 1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )


def trainer_of(job: Job, output: str) -> Any:
    """A trainer around a fresh model, the pairs rendered as TRL renders them."""
    model = AutoModelForCausalLM.from_pretrained(
        job.model,
        dtype=torch.bfloat16 if job.precision == "pure" else torch.float32,
        attn_implementation="sdpa",
        use_safetensors=True,
    )
    adapter = LoraConfig(
        r=ADAPTER_R,
        lora_alpha=ADAPTER_ALPHA,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    lines = Path(job.pairs).read_text(encoding="utf-8").splitlines()
    return (CPOTrainer if job.method == "simpo" else DPOTrainer)(
        model=model,
        args=config_of(job, output),
        train_dataset=Dataset.from_list([json.loads(line) for line in lines]),
        processing_class=AutoTokenizer.from_pretrained(job.model),
        peft_config=adapter if job.weights == "lora" else None,
    )


def tokens_of(row: dict[str, Any]) -> dict[str, list[int]]:
    """Token ids of one rendered pair: prompt, chosen, rejected."""
    start = row["chosen_labels"].count(-100)
    if row["rejected_input_ids"][:start] != row["chosen_input_ids"][:start]:
        raise RuntimeError("TRL gave the two completions of a pair different prompts")
    return {
        "prompt": row["chosen_input_ids"][:start],
        "chosen": row["chosen_input_ids"][start:],
        "rejected": row["rejected_input_ids"][row["rejected_labels"].count(-100) :],
    }


def ids_of(row: dict[str, Any]) -> dict[str, list[int]]:
    """Token ids of one pair as TRL's DPO keeps them."""
    return {name: list(row[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")}


def measure(job: Job) -> Measured:
    """Train a fresh model for `job.steps` steps and measure each."""
    meter = Meter()
    with tempfile.TemporaryDirectory(dir=job.scratch) as output:
        trainer = trainer_of(job, output)
        trainer.add_callback(StepWatch(meter))
        meter.watch(trainer.model)
        trainer.train()
    pairs = [(tokens_of if job.method == "simpo" else ids_of)(row) for row in trainer.train_dataset]
    if job.tokens is not None:
        Path(job.tokens).write_text(json.dumps(pairs[: job.batch_size]), encoding="utf-8")
    scored = [len(pair["chosen"]) + len(pair["rejected"]) for pair in pairs]
    return meter.measured(
        "trl",
        job.setting,
        pairs_per_step=job.batch_size,
        tokens_scored=[sum(scored[step * job.batch_size :][: job.batch_size]) for step in range(job.steps)],
        first_loss=next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry),
    )


def main(path: str) -> None:
    """Measure the job in `path`."""
    out = claim_stdout()
    job = Job.read(path)
    print(measure(job).line(), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
