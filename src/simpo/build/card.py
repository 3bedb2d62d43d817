"""README.md of a version: what it is, how it was made, what was found in it, and how to train on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from simpo.data.manifest import SPLITS, Manifest
from simpo.release.markdown import plain, table

MAX_FINDINGS, MAX_STRATA = 12, 60
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def card_text(manifest: Manifest, audits: Mapping[str, Any]) -> str:
    """The card with the metadata of the Hugging Face hub on top."""
    sections = (
        _head(manifest),
        _splits(manifest),
        _made(manifest),
        _audit(audits),
        _lengths(manifest),
        _use(manifest),
        _rule(manifest),
    )
    return _metadata(manifest) + "\n" + "\n".join("".join(section) for section in sections)


def _metadata(manifest: Manifest) -> str:
    rows = sum(part.rows for part in manifest.splits.values())
    size = next((name for limit, name in _SIZES if rows < limit), "n>1M")
    files = [
        {"split": split, "path": part.file}
        for split in SPLITS
        if (part := manifest.splits.get(split)) is not None and part.file is not None
    ]
    values = {
        "pretty_name": f"Preference pairs {manifest.hash[:12]}",
        "tags": ["preference", "simpo", "dpo", "trl"],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def _head(manifest: Manifest) -> Iterator[str]:
    yield f"# Preference pairs {manifest.hash[:12]}\n\n"
    yield "Prompts, each with a reply that was preferred (`chosen`) and one that was not (`rejected`), as lists of "
    yield "messages. Built by "
    yield f"simpo {manifest.simpo_version}; `manifest.json` has the hashes, the settings and the counts, "
    yield "`repairs.jsonl` every row that was left out or changed, `audit.json` what was found before and after.\n\n"
    yield f"Version hash: `{manifest.hash}`\n"
    if manifest.parent is not None:
        yield f"\nContinues {plain(manifest.parent.name)} (`{manifest.parent.hash}`): its rows stay in their splits.\n"


def _splits(manifest: Manifest) -> Iterator[str]:
    yield "## Splits\n\n"
    total = sum(part.rows for part in manifest.splits.values())
    rows = [
        (split, part.file or "none", f"{part.rows:,}", f"{part.rows / total:.1%}", part.hash[:12])
        for split in SPLITS
        if (part := manifest.splits.get(split)) is not None
    ]
    yield table(("split", "file", "pairs", "share", "content hash"), rows)
    yield f"\n{manifest.grouping.prompts:,} different prompts in {manifest.grouping.groups:,} groups of near "
    yield f"duplicates; the largest group has {manifest.grouping.largest_rows:,} pairs. No group is in two splits.\n\n"
    strata = manifest.strata[:MAX_STRATA]
    yield "Pairs by category and quartile of the chosen reply's length:\n\n"
    yield table(
        ("category", "quartile", *SPLITS),
        [
            (one.category or "none", one.quartile, *(one.rows.get(split, 0) for split in SPLITS))
            for one in strata
        ],
    )
    if len(manifest.strata) > MAX_STRATA:
        yield f"\nand {len(manifest.strata) - MAX_STRATA} more in the manifest.\n"


def _made(manifest: Manifest) -> Iterator[str]:
    counts = manifest.counts
    yield "## How it was made\n\n"
    yield table(
        ("source", "format", "pairs", "sha256"),
        [(one.name, one.format, f"{one.pairs:,}", (one.sha256 or "none")[:12]) for one in manifest.sources],
    )
    yield "\n"
    if manifest.looked_up:
        files = ", ".join(plain(one.name) for one in manifest.looked_up)
        yield f"Looked up for leakage: {files}.\n\n"
    rows: list[Sequence[object]] = [("rows read", f"{counts.rows_read:,}", "")]
    rows += [("left out", f"{count:,}", reason) for reason, count in counts.rows_dropped.items()]
    rows += [("answers or turns left out", f"{count:,}", why) for why, count in counts.parts_dropped.items()]
    rows += [("pairs of the other rows", f"{counts.pairs_read:,}", "")]
    rows += [("dropped", f"{count:,}", kind) for kind, count in counts.pairs_dropped.items()]
    rows += [
        ({"mend": "mended", "swap": "swapped"}.get(action, action), f"{count:,}", kind)
        for kind, done in counts.pairs_repaired.items()
        for action, count in done.items()
    ]
    rows += [(f"in {split}", f"{count:,}", "") for split, count in counts.splits.items()]
    yield table(("stage", "count", "reason"), rows)


def _audit(audits: Mapping[str, Any]) -> Iterator[str]:
    result = audits["result"]
    yield "## What an audit finds in it\n\n"
    yield f"{plain(result['verdict']['title'])}\n\n"
    findings = result["findings"]
    if findings:
        shown = findings[:MAX_FINDINGS]
        yield table(
            ("severity", "kind", "finding"), [(one["severity"], one["kind"], one["title"]) for one in shown]
        )
    if len(findings) > MAX_FINDINGS:
        yield f"\nand {len(findings) - MAX_FINDINGS} more in `audit.json`.\n"


def _lengths(manifest: Manifest) -> Iterator[str]:
    if manifest.lengths is None:
        return
    before, after = manifest.lengths.before, manifest.lengths.after
    yield "## Length\n\n"
    if before == after:
        yield f"The chosen reply is the longer one in {before.longer_chosen:.1%} of the training pairs of different "
        yield f"length; the AUC of length alone is {before.auc:.3f}.\n"
        return
    yield "Training pairs were left out until as many have a longer chosen reply as a shorter one, by about the same "
    yield "factor; validation and test are as they came.\n\n"
    yield table(
        ("training pairs", "before", "after"),
        [
            ("pairs", f"{before.rows:,}", f"{after.rows:,}"),
            ("longer reply chosen", f"{before.longer_chosen:.1%}", f"{after.longer_chosen:.1%}"),
            ("AUC of length alone", f"{before.auc:.3f}", f"{after.auc:.3f}"),
        ],
    )


def _use(manifest: Manifest) -> Iterator[str]:
    yield "## How to train on it\n\n"
    yield "In a recipe of simpo, with this folder as `data.train`; validation and test come from it too, and a run "
    yield "records the version hash:\n\n"
    yield "    data:\n      train: path/to/this/folder\n\n"
    yield "`simpo data verify path/to/this/folder` says whether the files are what was written. With other tools:\n\n"
    yield "    import datasets\n    splits = datasets.load_dataset('path/to/this/folder')\n"


def _rule(manifest: Manifest) -> Iterator[str]:
    rule = manifest.split_rule
    yield "## How it was split\n\n"
    yield f"Seed {rule.seed}, validation {rule.validation:g}, test {rule.test:g}, `{rule.stratify}`, groups of "
    yield f"`{rule.group}` duplicates. `simpo build ... --parent path/to/this/folder` adds rows and moves none.\n"
    if manifest.conflicts:
        left = sum(one.rows_left_out for one in manifest.conflicts)
        yield f"\n{len(manifest.conflicts)} groups would have joined rows that the parent has in different splits: "
        yield f"their {left} new pairs were left out (`joins_splits`).\n"
