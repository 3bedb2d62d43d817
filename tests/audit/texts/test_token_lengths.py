"""Lengths in tokens: those that training would score, and the pairs that do not fit or cannot be rendered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simpo.audit.findings import Finding
from simpo.audit.texts.token_lengths import NO_LIMIT, TokenLengths, context_length
from simpo.data.render import Renderer
from simpo.errors import RecipeError
from simpo.records import Message, Pair, TokenGroup
from simpo.runs.folder import write_json
from tests.audit.made import pair

PAIRS = [
    pair(f"Where is order {number}? " * number, "It comes. " * number, "No. " * (30 - number))
    for number in range(1, 30)
]
WITHOUT_SYSTEM = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system turns') }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def renderer_of(tokenizer: Any, max_length: int = NO_LIMIT, template: str = "model") -> Renderer:
    return Renderer(tokenizer, stop_ids=[tokenizer.eos_token_id], max_length=max_length, template=template)


def found(check: TokenLengths, pairs: Sequence[Pair]) -> dict[str, Finding]:
    for number, one in enumerate(pairs):
        check.see(number, one)
    return {finding.kind: finding for finding in check.findings()}


def groups_of(tokenizer: Any, pairs: Sequence[Pair]) -> list[TokenGroup]:
    renderer = renderer_of(tokenizer)
    groups = [renderer.render(one) for one in pairs]
    return [group for group in groups if isinstance(group, TokenGroup)]


def test_the_lengths_are_those_of_the_token_groups(tiny_tokenizer: Any) -> None:
    finding = found(TokenLengths(renderer_of(tiny_tokenizer), max_length=300, own_limit=512), PAIRS)[
        "token_lengths"
    ]
    groups = groups_of(tiny_tokenizer, PAIRS)
    assert len(groups) == len(PAIRS)
    over = [number for number, group in enumerate(groups) if group.longest > 300]
    assert 0 < len(over) < len(PAIRS)
    assert finding.rows.tolist() == over
    assert finding.severity == "warning"
    assert finding.figures["over"] == {
        str(limit): sum(group.longest > limit for group in groups) for limit in (300, 512, 1024, 2048, 4096)
    }
    assert finding.figures["tokens"]["chosen"]["median"] == np.median(
        [len(group.completions[0]) for group in groups]
    )
    assert finding.figures["tokens"]["prompt"]["longest"] == max(len(group.prompt) for group in groups)
    assert finding.figures["tokens"]["whole"]["longest"] == max(group.longest for group in groups)
    longer = [
        number for number in over if len(groups[number].completions[0]) > len(groups[number].completions[1])
    ]
    assert finding.figures["over_with_longer_chosen"] == len(longer)


def test_where_everything_fits_a_note_says_what_length_would_do(tiny_tokenizer: Any) -> None:
    finding = found(TokenLengths(renderer_of(tiny_tokenizer)), PAIRS)["token_lengths"]
    longest = max(group.longest for group in groups_of(tiny_tokenizer, PAIRS))
    assert (finding.severity, finding.count) == ("note", 0)
    assert f"data.max_length {longest} " in finding.action


def test_the_models_own_limit_counts_where_it_is_the_shorter_one(tiny_tokenizer: Any) -> None:
    finding = found(TokenLengths(renderer_of(tiny_tokenizer), max_length=2048, own_limit=200), PAIRS)[
        "token_lengths"
    ]
    assert finding.figures["fit"] == 200
    assert finding.count == finding.figures["over"]["200"] > 0


def test_pairs_that_the_template_refuses_are_told_apart_and_the_others_measured(
    tiny_tokenizer: Any, tmp_path: Path
) -> None:
    template = tmp_path / "template.jinja"
    template.write_text(WITHOUT_SYSTEM)
    refused = Pair((Message("system", "Be kind."), *PAIRS[0].prompt), "yes", "no", PAIRS[0].source)
    check = TokenLengths(renderer_of(tiny_tokenizer, template=str(template)))
    findings = found(check, [PAIRS[0], refused, PAIRS[1], refused])
    assert findings["unrenderable"].rows.tolist() == [1, 3]
    assert findings["unrenderable"].repair == "drop"
    assert sum(findings["unrenderable"].figures["reasons"].values()) == 2
    assert findings["token_lengths"].figures["tokens"]["whole"]["longest"] == max(
        group.longest for group in groups_of(tiny_tokenizer, PAIRS[:2])
    )


def test_the_same_pair_twice_in_more_than_one_batch_is_measured_each_time(tiny_tokenizer: Any) -> None:
    finding = found(TokenLengths(renderer_of(tiny_tokenizer), max_length=20), [PAIRS[3]] * 1500)[
        "token_lengths"
    ]
    assert finding.rows.tolist() == list(range(1500))


def test_a_renderer_that_drops_long_rows_is_refused(tiny_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="drops what is longer than 100 tokens"):
        TokenLengths(renderer_of(tiny_tokenizer, max_length=100))


def test_a_model_folder_brings_its_tokenizer_and_its_limit(tiny_model_dir: Path, tiny_tokenizer: Any) -> None:
    finding = found(TokenLengths.of_model(str(tiny_model_dir)), PAIRS)["token_lengths"]
    groups = groups_of(tiny_tokenizer, PAIRS)
    assert finding.figures["own_limit"] == finding.figures["fit"] == 512
    assert finding.figures["tokens"]["whole"]["longest"] == max(group.longest for group in groups)


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 32768}}, 32768),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_the_limit_is_read_from_the_configuration(
    tmp_path: Path, config: dict[str, Any], limit: int | None
) -> None:
    write_json(tmp_path / "config.json", config)
    assert context_length(str(tmp_path)) == limit


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no config\.json"):
        TokenLengths.of_model(str(tmp_path))


@pytest.mark.model
def test_the_real_model_has_8192_positions(smollm2: Path) -> None:
    finding = found(TokenLengths.of_model(str(smollm2)), PAIRS)["token_lengths"]
    assert finding.figures["own_limit"] == 8192
    assert finding.figures["over"]["8192"] == 0
