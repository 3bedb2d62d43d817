"""Write docs/methods.md from the tables of methods and formulas, so that the page cannot drift from the code.

python docs/generate_methods.py            write the page
python docs/generate_methods.py --check    exit with status 1 if the page is not what would be written
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from simpo.core.formulas import score_formula, written
from simpo.core.methods import METHODS, Method
from simpo.recipe import MethodRecipe

PAGE = Path(__file__).parent / "methods.md"


@dataclass(frozen=True)
class Note:
    """What the table cannot say of a method: when to use it, and what to know before."""

    when: str
    know: tuple[str, ...]
    published: str


NOTES = {
    "simpo": Note(
        "The default: no reference model, and a reward that does not grow with length.",
        (
            "`gamma` is in nats per token. The paper's gamma is the reward margin, beta times this one; see the last "
            "table before copying a number from elsewhere.",
            "A small beta (below 1) makes the gradient nearly the same for every pair, whatever the model says of it: "
            "rewards are means per token and seldom differ by more than 1 nat.",
            "The authors tune the learning rate first, then gamma between 0 and 1, then beta. In a full fine-tune, "
            "1e-5 can produce completely repetitive answers.",
            "It is not the best method everywhere: Tulu 3 found it below `dpo_norm`. Measure both on your pairs.",
        ),
        "beta 2 to 10, gamma 0.1 to 0.8, learning rate 3e-7 to 1e-6 by model; one epoch, 128 pairs a step",
    ),
    "simpo_hinge": Note(
        "Where pairs well apart should stop pulling: from 1 / beta above the margin they have no gradient.",
        ("Every pair below that point pulls with the same force, mislabelled ones too.",),
        "none; the loss is `hinge` in the SimPO authors' code",
    ),
    "dpo": Note(
        "The baseline that everyone knows, and a fallback: the reference keeps the policy near its starting point.",
        (
            "The reward is a sum over tokens, so long answers have larger rewards of either sign; it tends to lengthen "
            "replies.",
            "Needs the reference's log-probabilities: one extra pass over the data (`precomputed`), a second model in "
            "memory (`live`), or none of either with an adapter (`adapter_off`).",
            "The first step costs log 2 = 0.693 a pair; a number further off than rounding means that the reference "
            "is not the policy that training starts from.",
        ),
        "beta 0.1 to 0.5; the SimPO authors found 0.01 best for 7B and 8B models, with learning rates of 3e-7 to 7e-7",
    ),
    "dpo_norm": Note(
        "DPO without its taste for length; the best of the methods that Tulu 3 compared.",
        (
            "Its beta acts on nats per token and is some fifty times DPO's: do not carry one over to the other.",
            "Needs a reference, as `dpo` does.",
        ),
        "beta 5, learning rate 5e-7 (Tulu 3, 8B)",
    ),
    "ipo": Note(
        "Where labels are nearly deterministic and DPO overfits them: it aims at a difference and stops there.",
        (
            "The target is 1 / (2 * beta) nats *per token*: 5 at beta 0.1, which is seldom reached, so that every pair "
            "is pulled about alike. A larger beta brings the target within reach.",
            "The paper writes sums. Its authors told the maintainers of TRL to average over tokens, and so do we; "
            "reference code that sums (eric-mitchell/direct-preference-optimization) gives other numbers.",
            "Not monotone: past the target, a larger difference is a larger loss.",
            "Needs a reference, as `dpo` does.",
        ),
        "none for language models in its paper, whose tau is beta; 0.1 is also TRL's default",
    ),
    "orpo": Note(
        "From a base model in one stage: its SFT term does the work of the SFT that was skipped.",
        (
            "The SFT term is most of the loss; on a model that is already tuned it mostly continues SFT.",
            "Where a completion is certain (a above -1.2e-7), the odds are held at those of float32's rounding, "
            "15.9 on the log scale, instead of becoming infinite.",
            "The authors' SFT term averages over the tokens of the batch and may include the prompt; ours averages per "
            "completion and never does.",
        ),
        "odds_weight (the paper's lambda) 0.1, learning rate 5e-6, 5 epochs (Mistral 7B base)",
    ),
    "cpo": Note(
        "Translation and other tasks with short answers of like length, from which it comes.",
        (
            "Rewards are sums without a reference: the shorter answer starts ahead, whatever it says.",
            "The paper's SFT term is a sum; its authors' code averages over the tokens of the batch; ours averages per "
            "completion.",
            "Label smoothing is not in the paper; it is DPO's, as TRL adds it.",
        ),
        "beta 0.1, one epoch, LoRA of rank 16 with learning rate 1e-4",
    ),
    "simper": Note(
        "Nothing to tune but the learning rate: a first look at new data.",
        (
            "The pull on a completion is its own per-token probability exp(a): completions that the model finds "
            "unlikely hardly move, mislabelled or not.",
            "Losses lie between -1 and 1 and are usually negative; zero is no goal.",
        ),
        "learning rate 5e-7, one epoch, 128 pairs a step (Mistral 7B Instruct)",
    ),
    "repo": Note(
        "SimPO with one parameter less: pairs that reach the margin are left alone, all others pull alike.",
        (
            "The limit of SimPO / beta as beta grows. The loss reads in nats per token missing to the margin.",
            "When most pairs have reached the margin a batch has little gradient left: watch the loss reach 0.",
        ),
        "gamma 0.4, learning rate 6e-7 (Mistral 7B Instruct); gamma 0.6, 1e-6 (Llama 3 8B Instruct)",
    ),
    "alphapo": Note(
        "SimPO where the likelihood of chosen answers sinks along with that of rejected ones: alpha > 0 resists it.",
        (
            "alpha = 0 is SimPO. gamma is in units of r, which are nats per token only at alpha 0.",
            "With alpha > 0 the reward falls exponentially in -a: where alpha * |a| passes 88, float32 overflows and "
            "the step is refused (at alpha 0.25 that is -350 nats per token, a collapsed model).",
            "Margins in the logs are of beta * a, unshaped, so that they can be compared with SimPO's.",
        ),
        "alpha 0.25, beta 2.5, gamma 0.1 (read as the ratio that its authors' code takes), learning rate 7e-7 "
        "(Mistral 7B Instruct)",
    ),
    "sft": Note(
        "Before any of the others: a model that has not seen answers of your kind has little to prefer among.",
        ("Takes examples, a prompt and the completion to imitate, and not pairs.",),
        "learning rate 2e-5, one epoch, 128 examples a step (the base models of the SimPO paper)",
    ),
}

INTRODUCTION = """\
<!-- Written by docs/generate_methods.py from src/simpo/core/methods.py: change them, not this page. -->

# Methods

`method.name` in a [recipe](recipe.md) is one of the names below. `y_w` is the chosen completion and `y_l` the
rejected one; `log p(y)` is the sum of the log-probabilities of a completion's tokens given the prompt, its one stop
token included, and `a = log p(y) / |y|` their mean, in nats per token; `_ref` marks the reference model's. A loss is
taken per pair, and the gradient of a step is the mean over the pairs of the global batch.
"""

CLOSING = """\
## The margin, and what others call it

How much better per token the chosen completion must be goes by several names, and published numbers come in
either of two units. A recipe takes `gamma` or `reward_margin`, and a run shows both.

| where | name | unit | SimPO with beta 2 and gamma 0.5 |
|---|---|---|---|
| here | `gamma` | nats per token | 0.5 |
| here, and the paper's gamma | `reward_margin` | reward, beta * gamma | 1 |
| princeton-nlp/SimPO, open-instruct | `gamma_beta_ratio` | nats per token | 0.5 |
| TRL, LLaMA-Factory | `simpo_gamma` | reward, beta * gamma | 1 |

## The SFT term

`method.sft_weight` adds that many times `-a_w`, the chosen completion's mean negative log-probability, so that every
pair weighs the same whatever its length. It is 1 for ORPO and CPO, whose papers have it, and 0 for the others: TRL,
axolotl, ms-swift and Liger add it to SimPO unless told not to, and then train another method.

## Label smoothing

`method.label_smoothing` e replaces `-log sigmoid(z)` by `-(1 - e) * log sigmoid(z) - e * log sigmoid(-z)`: the loss
where a share e of the labels is flipped. It must stay below 0.5.
"""


def page() -> str:
    """The page, whole."""
    parts = [INTRODUCTION, _table()]
    parts += [_section(method, NOTES[name]) for name, method in METHODS.items()]
    return "\n".join([*parts, CLOSING])


def _table() -> str:
    lines = [
        "| name | loss of a pair | score | reference | parameters and defaults | SFT weight | source |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, method in METHODS.items():
        cells = (
            f"[`{name}`](#{_anchor(method)})",
            f"`{_loss(method)}`".replace("|", "\\|"),
            method.score,
            "yes" if method.reference else "no",
            ", ".join(f"`{key}` {value:g}" for key, value in method.defaults.items()) or "none",
            f"{method.sft_weight:g}" if method.pairwise else "",
            _source(method),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _section(method: Method, note: Note) -> str:
    lines = [
        f"## {method.title}",
        "",
        f"    method.name: {method.name}",
        f"    loss: {_loss(method)}",
        "",
        note.when,
        "",
    ]
    if method.defaults:
        lines += ["| parameter | default | |", "|---|---|---|"]
        for key, value in method.defaults.items():
            lines.append(f"| `method.{key}` | {value:g} | {MethodRecipe.model_fields[key].description} |")
        if method.uses("reward_margin"):
            margin = method.defaults["beta"] * method.defaults["gamma"]
            lines.append(
                f"| `method.reward_margin` | {margin:g} | `gamma` in the other unit; give one of the two. |"
            )
        lines.append("")
    lines += [*(f"* {sentence}" for sentence in note.know), ""]
    lines += [f"Published settings: {note.published}. Source: {_source(method)}.", ""]
    return "\n".join(lines)


def _loss(method: Method) -> str:
    """The formula with the parameters' names; a score that is the plain mean is called a."""
    loss, where = (part.format_map({key: key for key in method.defaults}) for part in written(method))
    score = score_formula(method)
    if not method.pairwise:
        return "-log p(y), summed over the batch, divided by its scored tokens"
    term = " + SFT term" if method.sft_weight else ""
    if score == "s = a":
        loss, where, score = re.sub(r"\bs_(?=[wl]\b)", "a_", loss), re.sub(r"\bs\b", "a", where), ""
    return ", ".join(part for part in (loss + term, where, score) if part)


def _source(method: Method) -> str:
    kind, _, number = method.source.partition(":")
    return f"[{method.source}](https://arxiv.org/abs/{number})" if kind == "arXiv" else method.source


def _anchor(method: Method) -> str:
    kept = "".join(letter for letter in method.title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


def main() -> int:
    """Write the page, or with --check compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.name} is out of date\n  fix: python docs/generate_methods.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
