"""A build of the Harbor case: what was planted is repaired, and no near duplicate stands in two splits."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from examples.harbor.generate import generate
from simpo.audit.texts.structure import normalised
from simpo.data.version import Version, check_version
from tests.build.made import built, listed_repairs, rows_of

NEAR = 0.7
RUN = 5  # characters


@pytest.fixture(scope="module")
def harbor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("harbor")
    generate(folder, num_sft=0, num_pairs=1600)
    return folder


@pytest.fixture(scope="module")
def version(harbor: Path) -> Version:
    return built(harbor / "v", harbor / "pairs_train.jsonl", split__validation=0.15, split__test=0.15)


def test_what_was_planted_is_left_out_and_listed_by_its_line(harbor: Path, version: Version) -> None:
    ids = [json.loads(line)["id"] for line in (harbor / "pairs_train.jsonl").read_text().splitlines()]
    truth = [json.loads(line) for line in (harbor / "truth.jsonl").read_text().splitlines()]
    out = {ids[int(one["source"].rpartition(":")[2]) - 1]: one["kind"] for one in listed_repairs(version)}
    found = Counter[str]()
    for one in truth:
        # Of two copies either one may stay, and of two opposite labels none does.
        if one["id"] in out or one["of"] in out:
            found[one["kind"]] += 1
    planted = Counter(one["kind"] for one in truth)
    for kind in ("chosen_equals_rejected", "exact_duplicate", "near_duplicate", "contradiction"):
        assert found[kind] >= 0.95 * planted[kind] > 0, kind
    assert check_version(version) == []


def test_no_two_prompts_of_different_splits_are_near_by_brute_force(version: Version) -> None:
    """Jaccard's index of the runs of five characters, of every prompt with every prompt of another split."""
    prompts: dict[str, set[tuple[frozenset[str], frozenset[str]]]] = {}
    for split in version.manifest.splits:
        prompts[split] = {
            tuple(  # type: ignore[misc]
                runs(
                    " ".join(
                        turn["content"] for turn in row["prompt"] if (turn["role"] == "system") == system
                    )
                )
                for system in (True, False)
            )
            for row in rows_of(version, split)
        }
    compared = 0
    for one, other in itertools.combinations(prompts, 2):
        for (system, asked), (system_too, asked_too) in itertools.product(prompts[one], prompts[other]):
            compared += 1
            if likeness(asked, asked_too) >= NEAR:
                assert likeness(system, system_too) < NEAR
    assert compared > 100_000


def runs(text: str) -> frozenset[str]:
    plain = normalised(text)
    return frozenset(plain[at : at + RUN] for at in range(max(1, len(plain) - RUN + 1)))


def likeness(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def test_no_group_is_in_two_splits_and_every_prompt_in_one_group(version: Version) -> None:
    splits: dict[str, set[str]] = {}
    groups: dict[str, set[str]] = {}
    for split in version.manifest.splits:
        for row in rows_of(version, split):
            splits.setdefault(row["group"], set()).add(split)
            groups.setdefault(json.dumps(row["prompt"]), set()).add(row["group"])
    assert all(len(found) == 1 for found in (*splits.values(), *groups.values()))
    assert len(splits) == version.manifest.grouping.groups
