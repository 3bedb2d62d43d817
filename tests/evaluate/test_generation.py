"""Generation on a tiny random model: batching and padding change nothing, stops and settings are what was asked."""

from __future__ import annotations

import copy
import logging
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from simpo.data.render import Renderer
from simpo.errors import RecipeError
from simpo.evaluate.generation import Reply, generate_from_ids, generate_replies, summarise_replies
from simpo.model.load import Policy
from simpo.records import Message, TokenIds

PROMPTS = tuple(
    (Message("user", text),)
    for text in (
        "Where is it?",
        "My parcel has not arrived and the tracking page has shown the same place for a week.",
        "Refund",
        "The invoice of March charges me twice for the same plan.",
        "Where is my refund of the second charge, please? It takes three working days, you said.",
    )
)


def _ids(renderer: Renderer) -> list[TokenIds]:
    return [renderer.prompt_ids(prompt) for prompt in PROMPTS]


def _greedy_by_hand(policy: Policy, prompt: TokenIds, max_new_tokens: int) -> tuple[list[int], bool]:
    """The oracle: one full forward for each token, no cache, no padding."""
    tokens = prompt.tolist()
    for _ in range(max_new_tokens):
        with torch.no_grad():
            token = int(policy.model(torch.tensor([tokens])).logits[0, -1].argmax())
        if token in policy.stop_ids:
            return tokens[len(prompt) :], True
        tokens.append(token)
    return tokens[len(prompt) :], False


def _stopping_at_third_token(policy: Policy, prompt: TokenIds) -> Policy:
    """The same policy, for which the first token new at its greedy reply's third place or later ends a reply."""
    written, _ = _greedy_by_hand(policy, prompt, 20)
    stop = next(token for at, token in enumerate(written) if at >= 2 and token not in written[:at])
    stopping = copy.copy(policy)
    stopping.stop_ids = policy.stop_ids | {stop}
    return stopping


def test_batched_greedy_replies_are_those_of_a_loop_without_cache(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    replies = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=24, batch_size=5)
    for prompt, reply in zip(_ids(tiny_renderer), replies, strict=True):
        tokens, stopped = _greedy_by_hand(tiny_policy, prompt, 24)
        assert list(reply.tokens) == tokens
        assert reply.stopped == stopped


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("batch_size", [2, 3, 5])
def test_the_batch_size_changes_no_reply(
    tiny_policy: Policy, tiny_renderer: Renderer, temperature: float, batch_size: int
) -> None:
    def write(size: int) -> list[Reply]:
        return generate_replies(
            tiny_policy,
            PROMPTS,
            tiny_renderer,
            max_new_tokens=16,
            temperature=temperature,
            batch_size=size,
            seed=3,
        )

    assert write(batch_size) == write(1)


def test_the_order_of_the_prompts_changes_no_sampled_reply(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    def write(prompts: tuple[tuple[Message, ...], ...]) -> list[Reply]:
        return generate_replies(
            tiny_policy, prompts, tiny_renderer, max_new_tokens=16, temperature=1.0, batch_size=2
        )

    assert write(PROMPTS[::-1]) == write(PROMPTS)[::-1]
    assert write(PROMPTS[:2]) == write(PROMPTS)[:2]


def test_another_seed_and_a_repeated_prompt_draw_anew(tiny_policy: Policy, tiny_renderer: Renderer) -> None:
    def write(seed: int) -> list[Reply]:
        prompts = (PROMPTS[0], PROMPTS[0])
        return generate_replies(
            tiny_policy, prompts, tiny_renderer, max_new_tokens=16, temperature=1.0, seed=seed
        )

    first, second = write(0)
    assert first != second
    assert write(0) == [first, second]
    assert write(1)[0] != first


def test_sampled_first_tokens_follow_the_softmax_at_that_temperature(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    prompt, temperature, num_samples = tiny_renderer.prompt_ids(PROMPTS[0]), 0.5, 3000
    with torch.no_grad():
        logits = tiny_policy.model(torch.from_numpy(prompt.astype(np.int64))[None]).logits[0, -1]
    expected = torch.softmax(logits / temperature, -1)
    tiny_policy.stop_ids = frozenset({0})
    replies = generate_from_ids(
        tiny_policy, [prompt] * num_samples, max_new_tokens=1, temperature=temperature, batch_size=500
    )
    counts = Counter(reply.tokens[0] if reply.tokens else 0 for reply in replies)
    top = expected.topk(5)
    for share, token in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        error = (share * (1 - share) / num_samples) ** 0.5
        assert abs(counts[token] / num_samples - share) < 4 * error


def test_a_reply_ends_at_the_first_stop_token_which_is_no_part_of_it(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    prompts = _ids(tiny_renderer)
    stopping = _stopping_at_third_token(tiny_policy, prompts[1])
    replies = generate_from_ids(stopping, prompts, max_new_tokens=20, batch_size=5)
    assert replies[1].stopped
    assert 2 <= len(replies[1].tokens) < 20
    for prompt, reply in zip(prompts, replies, strict=True):
        assert (list(reply.tokens), reply.stopped) == _greedy_by_hand(stopping, prompt, 20)
        assert not stopping.stop_ids & set(reply.tokens)


def test_a_reply_that_never_stops_has_exactly_max_new_tokens(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    tiny_policy.stop_ids = frozenset({0})  # the padding token, which the random model does not write here
    for reply in generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=7):
        assert not reply.stopped
        assert len(reply.tokens) == 7


def test_a_stop_token_that_is_the_padding_token_is_told_apart(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    expected = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=12, batch_size=1)
    tiny_policy.tokenizer = copy.deepcopy(tiny_policy.tokenizer)
    tiny_policy.tokenizer.pad_token = tiny_policy.tokenizer.eos_token
    assert generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=12, batch_size=5) == expected


def test_special_tokens_are_never_in_the_text(tiny_policy: Policy, tiny_renderer: Renderer) -> None:
    with torch.no_grad():  # make the control tokens the likeliest ones
        start = tiny_policy.tokenizer.convert_tokens_to_ids("<|im_start|>")
        tiny_policy.model.lm_head.weight[start] *= 4
    replies = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=30, temperature=1.5)
    assert any(start in reply.tokens for reply in replies)
    assert not any("<|" in reply.text for reply in replies)


def test_the_models_own_generation_config_has_no_effect_and_stays(
    tiny_policy: Policy,
    tiny_renderer: Renderer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=16)
    own = GenerationConfig(
        do_sample=True,
        temperature=0.1,
        top_p=0.5,
        top_k=3,
        repetition_penalty=5.0,
        max_length=9,
        min_new_tokens=4,
    )
    tiny_policy.model.generation_config = own
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        assert generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=16) == expected
    assert tiny_policy.model.generation_config is own
    assert caplog.records == []


def test_the_models_mode_and_the_global_random_state_are_left_alone(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    tiny_policy.model.train()
    before = torch.get_rng_state()
    generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=4, temperature=1.0)
    assert tiny_policy.model.training
    assert torch.equal(torch.get_rng_state(), before)
    loss = tiny_policy.model(torch.tensor([[5, 6, 7]]), labels=torch.tensor([[5, 6, 7]])).loss
    loss.backward()  # what was cached while writing does not keep the model from being trained


@pytest.mark.filterwarnings(
    "ignore:.is_gradient_checkpointing:FutureWarning"
)  # peft asks transformers the old way
def test_an_adapter_that_has_been_trained_writes_with_its_weights(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    from peft import LoraConfig, get_peft_model

    plain = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=8)
    config = LoraConfig(
        r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM"
    )
    tiny_policy.model = get_peft_model(tiny_policy.model, config)
    adapted = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=8)
    tiny_policy.model = tiny_policy.model.merge_and_unload()
    merged = generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=8)
    assert adapted != plain
    assert adapted == merged


def test_progress_counts_prompts_up_to_all_of_them(tiny_policy: Policy, tiny_renderer: Renderer) -> None:
    seen: list[tuple[int, int]] = []
    generate_replies(
        tiny_policy,
        PROMPTS,
        tiny_renderer,
        max_new_tokens=2,
        batch_size=2,
        progress=lambda *done: seen.append(done),
    )
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_no_prompts_give_no_replies(tiny_policy: Policy, tiny_renderer: Renderer) -> None:
    assert generate_replies(tiny_policy, (), tiny_renderer) == []


def test_a_prompt_without_room_for_its_reply_is_refused_before_anything_is_written(
    tiny_policy: Policy, tiny_renderer: Renderer
) -> None:
    with pytest.raises(
        RecipeError, match=r"do not fit the model's 512 positions\n  fix: set evaluate.max_new_tokens"
    ):
        generate_replies(tiny_policy, PROMPTS, tiny_renderer, max_new_tokens=500)


def test_summary_of_replies_by_hand() -> None:
    # Tokens 1 2 1 2 1 2 1 2: 4-grams 1212, 2121, 1212, 2121, 1212, of which two are distinct: 3/5 repeat.
    replies = [Reply("abcd", (1, 2, 1, 2, 1, 2, 1, 2), True), Reply("ab", (3, 4), False)]
    found = summarise_replies(replies).to_json()
    assert found["chars"] == {
        "median": 3.0,
        "p10": pytest.approx(2.2),
        "p90": pytest.approx(3.8),
        "values": [4, 2],
    }
    assert found["tokens"]["values"] == [8, 2]
    assert found["stopped"] == 0.5
    assert found["distinct_1"] == pytest.approx(4 / 10)
    assert found["distinct_2"] == pytest.approx(3 / 8)  # 12, 21 and 34 of 7 + 1
    assert found["repeated_4gram"] == pytest.approx((3 / 5 + 0) / 2)
    assert found["repetitive"] == 0.5


@pytest.mark.model
def test_a_real_model_writes_the_same_batched_and_alone(smollm2: object) -> None:
    from simpo.model.load import load_policy
    from simpo.recipe import ModelRecipe

    policy = load_policy(ModelRecipe(name=str(smollm2)), device=torch.device("cpu"))
    renderer = Renderer(policy.tokenizer, stop_ids=policy.stop_ids)
    together = generate_replies(policy, PROMPTS[:3], renderer, max_new_tokens=24, batch_size=3)
    alone = generate_replies(policy, PROMPTS[:3], renderer, max_new_tokens=24, batch_size=1)
    assert together == alone
    assert all(reply.text.strip() for reply in together)
