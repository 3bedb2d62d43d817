"""What a wrong recipe key was meant to be: names that other trainers use, then names that look alike."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType

SIMILAR_ENOUGH = 0.6

# The names of TRL, LLaMA-Factory, axolotl, OpenRLHF, ms-swift and the authors' code, by what they mean here.
_FOREIGN = {
    "output": "output_dir output_path save_path",
    "model.name": "model_name_or_path base_model model_name pretrain model_id",
    "model.revision": "model_revision revision_of_model",
    "model.dtype": "torch_dtype",
    "model.attention": "attn_implementation attn_impl flash_attn flash_attention",
    "adapter.type": "use_peft use_lora finetuning_type tuner_type train_type peft",
    "adapter.r": "lora_r lora_rank rank",
    "adapter.alpha": "lora_alpha",
    "adapter.dropout": "lora_dropout",
    "adapter.target": "lora_target_modules target_modules lora_target lora_modules",
    "data.train": "dataset_name dataset datasets train_dataset dataset_mixer train_file dataset_path",
    "data.validation": "eval_dataset val_dataset test_datasets eval_file valid_file",
    "data.validation_fraction": "val_set_size val_size split_dataset_ratio test_size",
    "data.limit": "max_samples max_train_samples",
    "data.template": "chat_template template_path apply_chat_template",
    "data.max_length": "max_seq_length max_seq_len sequence_len cutoff_len max_len max_prompt_length "
    "max_completion_length max_target_length max_tokens",
    "data.overlong": "truncation truncation_mode truncation_strategy",
    "method.name": "loss_type pref_loss rl rlhf_type algorithm",
    "method.beta": "pref_beta rl_beta simpo_beta dpo_beta",
    "method.gamma": "gamma_beta_ratio",
    "method.reward_margin": "simpo_gamma margin target_reward_margin",
    "method.sft_weight": "cpo_alpha pref_ftx rpo_alpha nll_loss_coef sft_coef",
    "method.reference": "ref_model reference_model precompute_ref_log_probs reference_free",
    "method.odds_weight": "orpo_alpha orpo_beta",
    "train.lr": "learning_rate",
    "train.epochs": "num_train_epochs num_epochs max_epochs",
    "train.batch_size": "gradient_accumulation_steps train_batch_size global_batch_size",
    "train.micro_batch_size": "per_device_train_batch_size micro_train_batch_size",
    "train.schedule": "lr_scheduler_type lr_scheduler",
    "train.warmup": "warmup_ratio warmup_steps lr_warmup_ratio",
    "train.weight_decay": "l2",
    "train.max_grad_norm": "max_norm gradient_clipping grad_clip",
    "train.precision": "bf16 fp16 mixed_precision",
    "train.gradient_checkpointing": "use_gradient_checkpointing",
    "train.evaluate_every": "eval_steps evals_per_epoch eval_strategy",
    "train.save_every": "save_steps saves_per_epoch save_strategy",
    "train.patience": "early_stopping_patience",
    "train.keep_checkpoints": "save_total_limit",
    "evaluate.batch_size": "per_device_eval_batch_size eval_batch_size",
    "tracking.tracker": "report_to",
    "tracking.project": "wandb_project project_name run_name",
}
FOREIGN: Mapping[str, str] = MappingProxyType(
    {name: key for key, names in _FOREIGN.items() for name in names.split()}
)

# Where the same word does not mean the same number.
_NOTES = {
    "gradient_accumulation_steps": "the global batch: micro-batch times accumulation times ranks",
    "simpo_gamma": "it is beta * gamma; the authors' gamma_beta_ratio is method.gamma",
    "warmup_steps": "a share of the steps, not a count",
    "truncation_mode": "a completion is never cut",
    "truncation": "a completion is never cut",
}


def suggest(key: str, known: Iterable[str]) -> str | None:
    """The known key that `key` most likely means, with a note where the meaning differs; None when none is near.

    `key` is dotted (`train.learning_rate`) or a bare name. Another trainer's name comes first, then the same last
    part in another section, then the most similar last part.
    """
    section, _, leaf = key.lower().replace("-", "_").rpartition(".")
    keys = list(known)
    if leaf in FOREIGN and FOREIGN[leaf] in keys:
        note = _NOTES.get(leaf)
        return FOREIGN[leaf] + (f" ({note})" if note else "")

    def likeness(candidate: str) -> float:
        other_section, _, other_leaf = candidate.rpartition(".")
        # The section only decides between equals: `train.batch_size` and `evaluate.batch_size`.
        bonus = difflib.SequenceMatcher(None, section, other_section).ratio() / 100
        return difflib.SequenceMatcher(None, leaf, other_leaf).ratio() + bonus

    best = max(keys, key=likeness, default=None)
    return best if best is not None and likeness(best) >= SIMILAR_ENOUGH else None
