"""Writes docs/audit.md: every kind of finding and every limit of the verdict, as the code has them.

python docs/generate_audit.py          write the page anew
python docs/generate_audit.py --check  exit with 1 if the page is not current
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from simpo.audit.described import FAMILIES, LEFT_OUT, Described
from simpo.audit.limits import LIMITS

PAGE = Path(__file__).parent / "audit.md"

INTRODUCTION = """\
<!-- Written by docs/generate_audit.py (`make docs`): change the code, not this page. -->

# The audit

    simpo audit pairs.jsonl                                  # on the screen
    simpo audit pairs.jsonl --html audit.html --out audit.json
    simpo audit 'data/*.jsonl.gz' --held-out test.jsonl --benchmark gsm8k.jsonl --model my-org/my-sft-model

reads every pair once and says what is wrong with them, where (file and line), whether they are fit to train on, what
to do, and which method suits. Nothing is changed: `simpo build` makes the repairs. The exit status is 0 whatever was
found, and 4 with `--strict` unless the data is fit as it is.

A finding is an *error* (it spoils the training), a *warning* (look at it) or a *note* (a figure worth knowing). It
counts pairs unless it says rows, prompts, votes or annotators. Findings about secrets and personal data show no texts,
and what they found is masked. Of traits that can stand on either side (cut-off completions, refusals, placeholders,
another language) the finding says how often the side with the trait is the chosen one, with Wilson's 95 % interval,
where at least 20 pairs have it on one side alone.

## The verdict

*Not fit*: one of the first three limits below is passed, or there is an error that no repair mends. *Fit with repairs*:
there are errors or warnings with a repair. *Fit*: neither; warnings without a repair are listed as what to look at.
"""

LEFT_OUT_TEXT = """\
The reader leaves these rows out, each counted and named with its line. Mend those that are errors where they come from;
nothing is wrong with the others, but they make no pair.
"""

HOW_GOOD = """\
## How good it is

Measured where the truth is known. Harbor Support at full size (12,000 pairs) has defects planted by a seed;
`python -m benchmarks.audit_truth --seeds 3` compares what is found with what was planted:

| planted | rows | found, seeds 0, 1, 2 | precision | named by |
| --- | --- | --- | --- | --- |
| exact duplicate | 216 | 216, 216, 216 | 100 % each | `exact_duplicate` |
| near duplicate (typing errors in prompt and replies) | 216 | 213, 216, 216 | 100 % each | `near_duplicate` |
| contradiction | 162 | 162, 162, 162 | 100 % each | `contradiction` |
| chosen equals rejected | 108 | 108, 108, 108 | 100 % each | `identical` |
| label turned round, votes and all | 540 | 186, 162, 197 | 62, 62, 61 % | `suspected_flip` |
| two replies as good as each other | 216 | 0, 0, 0 | | nothing: `agreement` counts the items on which votes split |

Turned labels are another matter than copies: nothing in such a row is wrong but the label. About a third of them is
suspected, and two of five suspected ones are not planted (many of these are an annotator's error: by the rubric judge
85 to 87 % of the suspected are wrong). How well the ranking puts them first, by
`python -m benchmarks.label_truth --seeds 3 --noisy DIR`:

| data | turned | AUC (95 %) | AUC by style | right of first 100 | of as many as are turned | rate, estimated |
| --- | --- | --- | --- | --- | --- | --- |
| Harbor, seed 0 | 5.1 % of 10,692 | 0.913 (0.896 to 0.929) | 0.745 | 71 % | 50 % | 4.2 % (3.5 to 5.2) |
| Harbor, seed 1 | 5.1 % of 10,692 | 0.920 (0.905 to 0.936) | 0.745 | 70 % | 49 % | 4.0 % (3.0 to 5.0) |
| Harbor, seed 2 | 5.1 % of 10,692 | 0.915 (0.898 to 0.931) | 0.737 | 74 % | 49 % | 4.8 % (3.8 to 5.5) |
| UltraFeedback, a study's flips | 19.9 % of 764 | 0.614 (0.562 to 0.666) | 0.579 | 32 % | 34 % | not counted |
| the same, `--model` SmolLM2-135M | 19.9 % of 764 | 0.623 (0.571 to 0.675) | 0.579 | 34 % | 33 % | not counted |

The last lines are what to expect of a small and varied set: better than chance (of 100 drawn blindly 20 are turned),
too weak to name a number, and the finding says so. Harbor's replies repeat themselves, which helps; so does size.
Read the ranked list; do not drop it. A model's own log-probabilities are as good as the model: this one ranks no
better than chance by itself (0.510, 0.459 to 0.562) and adds next to nothing, in 12 minutes on two shared cores. Ask
one that can tell the replies apart.

## Cost

One process, pairs of 1 KB as JSON Lines, two shared cores, by
`python -m benchmarks.audit_scale --rows 10000 100000 1000000 --repeats 1`:

| pairs | seconds of the processor | most memory |
| --- | --- | --- |
| 10,000 | 5.5 | 149 MiB |
| 100,000 | 41 | 409 MiB |
| 1,000,000 | 246 | 781 MiB |

The seconds grow with the power 0.83 of the pairs, because labels are judged on at most 50,000 of them; between the last
two lines a million pairs take 228 seconds, and each some 430 bytes of memory. Files of 64 MiB and more are read by two
processes at once where there are two cores, by half of the checks each.
"""


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION, _table(("limit", "of", "why there"), _limits()), HOW_GOOD, "## Findings", ""]
    for family, kinds in FAMILIES.items():
        parts += [
            f"### {family}",
            "",
            *([LEFT_OUT_TEXT] if family == LEFT_OUT else []),
            *(_entry(name, one) for name, one in kinds.items()),
        ]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _limits() -> Iterable[tuple[str, ...]]:
    return ((f"{limit.value:g}", limit.of, limit.why) for limit in LIMITS.values())


def _entry(name: str, one: Described) -> str:
    repair = f"; repair: {one.repair}" if one.repair else ""
    says = one.says[:1].upper() + one.says[1:]
    rest = [_escaped(one.how)] * bool(one.how) + [f"*{_escaped(one.action)}*"] * bool(one.action)
    return " ".join([f"* **`{name}`** ({one.severity}{repair}). {_escaped(says)}.", *rest])


def _escaped(text: str) -> str:
    """Text that holds marks of templates and markup, so that Markdown shows them."""
    for mark in ("\\", "&", "<", "[", "*", "_"):
        text = text.replace(mark, f"\\{mark}")
    return text


def _table(columns: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def main() -> int:
    """Write the page, or with --check compare it."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
            return 0
        print(f"{PAGE.name} is out of date\n  fix: python docs/generate_audit.py", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
