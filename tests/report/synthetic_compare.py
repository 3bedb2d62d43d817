"""A compare.json as a comparison leaves it, made up from a seed: two methods, three seeds, every section."""

from __future__ import annotations

import random
from typing import Any

STRATA = (
    ("longer", "chosen longer", 492),
    ("longer", "rejected longer", 108),
    ("length_matched", "at matched lengths", 212),
    ("length_quartile", "Q1: up to 120 chars", 150),
    ("length_quartile", "Q2: over 120 to 170 chars", 150),
    ("length_quartile", "Q3: over 170 to 240 chars", 150),
    ("length_quartile", "Q4: over 240 chars", 150),
    ("category", "billing", 320),
    ("category", "shipping", 280),
)
LEVELS = {"simpo": 0.74, "dpo": 0.68, "base": 0.55}


def interval(value: float, half: float) -> dict[str, float]:
    """A figure with an interval around it."""
    return {"value": value, "low": value - half, "high": value + half}


def comparison() -> dict[str, Any]:
    """A whole comparison of SimPO with DPO."""
    rng = random.Random(0)
    return {
        "schema": 1,
        "kind": "comparison",
        "created": "2025-03-05T09:12:44+00:00",
        "simpo_version": "0.1.0",
        "seconds": 5400.0,
        "equal": "pairs",
        "seeds": [0, 1, 2],
        "machine": {"platform": "Linux", "cpu": "AMD EPYC", "gpu": None, "cores": 8},
        "warnings": ["12 held-out prompts are also training prompts."],
        "problems": [{"where": "runs/dpo-seed2", "message": "the run collapsed at step 40"}],
        "data": {
            "name": "data/harbor/test.jsonl",
            "hash": "ab" * 32,
            "num_pairs": 600,
            "num_prompts": 512,
            "dropped": {"overlong": 3},
            "chosen_chars": 160.0,
            "rejected_chars": 140.0,
            "chosen_longer": 0.82,
            "seen_in_training": 12,
        },
        "base": {"name": "runs/harbor-sft", "hash": "cd" * 32},
        "methods": [_method("simpo", "SimPO", 2.0, rng), _method("dpo", "DPO", 0.1, rng)],
        "preference": _preference(),
        "generation": _generation(rng),
        "drift": {
            "models": {
                name: {
                    "chosen": interval(kl, 0.01),
                    "generated": interval(kl / 2, 0.01),
                    "chosen_logps_change": interval(-kl, 0.02),
                }
                for name, kl in (("simpo", 0.12), ("dpo", 0.08))
            }
        },
        "cost": [
            _cost("simpo", None, "run", 3.1e9, 5.0),
            _cost("dpo", "precomputed", "run", 3.2e9, 0.8),
            _cost("simpo", None, "trial", 3.1e9, 0.9),
            _cost("dpo", "precomputed", "trial", 3.2e9, 0.95),
            _cost("dpo", "live", "trial", 4.4e9, 1.3),
        ],
        "regression": [
            {
                "name": "gsm8k",
                "file": "gsm8k.jsonl",
                "kind": "exact_match",
                "metric": "final answer equal to the expected one",
                "higher_is_better": True,
                "num_items": 250,
                "not_checked": 0,
                "models": {
                    "simpo": interval(0.3, 0.05),
                    "dpo": interval(0.41, 0.05),
                    "base": interval(0.4, 0.05),
                },
                "changes": {"simpo": interval(-0.1, 0.04), "dpo": interval(0.01, 0.04)},
                "more": {},
            }
        ],
        "verdict": {
            "choice": "simpo",
            "strength": "leaning",
            "headline": "Cut over to SimPO, with one eye on arithmetic",
            "paragraph": "Cut over to SimPO, with one eye on arithmetic. It is right 6 points more often.",
            "for": ["It wins 58 % against DPO at equal length."],
            "against": ["It lost 10 points on gsm8k."],
            "thresholds": {},
        },
    }


def _method(name: str, label: str, beta: float, rng: random.Random) -> dict[str, Any]:
    runs = [
        {
            "run": f"runs/{name}-seed{seed}",
            "seed": seed,
            "status": "done",
            "error": None,
            "steps": 120,
            "best_step": 100,
            "pairs": 3840,
            "tokens": 250_000,
            "train_hash": "ef" * 32,
            "evaluation": f"evaluation/{name}-seed{seed}.json",
            "accuracy": interval(LEVELS[name] + rng.gauss(0, 0.01), 0.035),
            "common": interval(LEVELS[name], 0.035),
            "median_chars": 210.0 if name == "simpo" else 340.0,
            "stopped": 0.97,
        }
        for seed in range(3)
    ]
    settings = {"method.name": name, "method.beta": beta}
    if name == "simpo":
        settings["method.gamma"] = 0.5
    return {
        "id": name,
        "label": label,
        "name": name,
        "description": f"{name}: beta {beta:g}",
        "recipe": f"{name}.yaml",
        "settings": settings,
        "runs": runs,
    }


def _preference() -> dict[str, Any]:
    models = {
        name: {
            "own": None if name == "base" else interval(level, 0.03),
            "common": interval(level - 0.01, 0.03),
            "per_seed": {"own": None if name == "base" else [level] * 3, "common": [level]},
            "chosen_logps": -1.5,
            "rejected_logps": -1.9,
            "margin": None if name == "base" else 0.8,
            "strata": [
                {
                    "by": by,
                    "name": part,
                    "num_pairs": pairs,
                    "own": None,
                    "common": interval(level - 0.02, 0.05),
                }
                for by, part, pairs in STRATA
            ],
        }
        for name, level in LEVELS.items()
    }
    return {
        "common": "mean log-probability",
        "models": models,
        "differences": [
            _difference("simpo", "dpo", 0.06),
            _difference("simpo", "base", 0.19),
            _difference("dpo", "base", 0.13),
        ],
    }


def _difference(first: str, second: str, value: float) -> dict[str, Any]:
    found = {
        **interval(value, 0.03),
        "mcnemar": {
            "first_only": 71,
            "second_only": 35,
            "ties": 0,
            "p_exact": 0.0006,
            "p_mid": 0.0005,
            "p_clustered": 0.0009,
        },
        "needed": {
            "difference": value,
            "power": 0.8,
            "level": 0.95,
            "design_effect": 1.1,
            "pairs": 410,
            "prompts": 350,
        },
    }
    strata = [
        {"by": by, "name": part, "num_pairs": pairs, "own": None, "common": interval(value, 0.08)}
        for by, part, pairs in STRATA
    ]
    own = None if second == "base" else found
    return {"first": first, "second": second, "own": own, "common": found, "strata": strata}


def _generation(rng: random.Random) -> dict[str, Any]:
    lengths = {"simpo": 210.0, "dpo": 340.0, "base": 330.0}
    replies = {
        name: {
            "chars": {"median": chars, "p10": chars / 2, "p90": 2 * chars, "values": [int(chars)]},
            "stopped": interval(0.96, 0.02),
            "repeated_4gram": 0.02,
            "repetitive": 0.01,
            "distinct_2": 0.6,
            "score": interval(0.7 + rng.gauss(0, 0.02), 0.03),
            "parts": {"facts": 0.8},
            "escalation": interval(0.1, 0.03),
        }
        for name, chars in lengths.items()
    }
    rates = [
        {
            "first": first,
            "second": second,
            "raw": {**interval(value, 0.05), "wins": 60, "ties": 20, "losses": 40},
            "length_controlled": {
                **interval(value + 0.04, 0.06),
                "length_effect": -0.4,
                "longer": 0.2,
                "extrapolated": False,
            },
            "agreement_of_orders": None,
        }
        for first, second, value in (("simpo", "base", 0.62), ("dpo", "base", 0.55), ("simpo", "dpo", 0.54))
    ]
    samples = [
        {
            "prompt": [{"role": "user", "content": f"Where is order {number}?"}],
            "chosen": "It is on its way.",
            "rejected": "No idea.",
            "category": "shipping",
            "replies": {
                name: {
                    "text": f"{name} says: it is on its way.",
                    "chars": 30,
                    "stopped": True,
                    "score": 0.8,
                    "escalates": False,
                }
                for name in LEVELS
            },
        }
        for number in range(8)
    ]
    return {
        "num_prompts": 120,
        "settings": {"max_new_tokens": 256, "temperature": 0.0, "seed": 0},
        "judge": {
            "name": "examples.harbor.judge:score",
            "hash": "01" * 32,
            "kind": "score",
            "both_orders": False,
        },
        "models": replies,
        "win_rates": rates,
        "samples": samples,
    }


def _cost(method: str, reference: str | None, measured: str, peak: float, seconds: float) -> dict[str, Any]:
    return {
        "method": method,
        "reference": reference,
        "from": measured,
        "steps": 4,
        "seconds": 120 * seconds,
        "seconds_per_pair": seconds,
        "pairs_per_second": 1 / seconds,
        "tokens_per_second": 65 / seconds,
        "prepare_seconds": 12.0,
        "peak_memory_bytes": peak,
        "parameters_held": 269_030_016 if reference == "live" else 134_515_008,
        "parameters_trained": 134_515_008,
    }
