"""The part of a card that one copies: a complete program that loads the model and lets it reply."""

from __future__ import annotations

from simpo.recipe import Recipe

THIS_FOLDER = "path/to/this/folder"
BASE_FOLDER = "path/to/the/base/model"

_FULL = """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "{folder}"
tokenizer = AutoTokenizer.from_pretrained(folder{code})
model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto"{code})
"""

_ADAPTER = """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

folder = "{folder}"
tokenizer = AutoTokenizer.from_pretrained(folder{code})
base = AutoModelForCausalLM.from_pretrained({base}, dtype="{dtype}"{code})
model = PeftModel.from_pretrained(base, folder)
model.generation_config = GenerationConfig.from_pretrained(folder)
"""

_CHAT = """\

messages = [{"role": "user", "content": "Where is my parcel?"}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
)
"""

_PLAIN = """\

inputs = tokenizer("Where is my parcel?", return_tensors="pt")
"""

_REPLY = """\
output = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
"""


def loading_section(kind: str, recipe: Recipe, base: tuple[str, str | None] | None) -> str:
    """How to load the export. base: an adapter's, `("base", None)` when it lies in the folder, else name and commit."""
    code = ", trust_remote_code=True" if recipe.model.trust_remote_code else ""
    note = ""
    if base is None:
        head = _FULL.format(folder=THIS_FOLDER, code=code)
    else:
        name, revision = base
        if revision:
            named = f'"{name}", revision="{revision}"'
        elif name == "base":
            named = 'f"{folder}/base"'
        else:
            named = f'"{BASE_FOLDER}"'
            note = "\nThe base model does not go along: give the folder of the one whose hash stands in the lineage.\n"
        head = _ADAPTER.format(folder=THIS_FOLDER, base=named, dtype=recipe.model.dtype, code=code)
    prompt = _PLAIN if recipe.data.template == "none" else _CHAT
    return f"## How to load it\n\n```python\n{head}{prompt}{_REPLY}```\n{note}"
