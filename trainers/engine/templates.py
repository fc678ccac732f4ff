"""Chat templates with generation markers: what a conversation reads like, and what of it is learnt.

The text between `{% generation %}` marks is the target: the reply with what ends it, nothing else.
Rules: `plain`, `v0` and `v1` are haotian-liu/LLaVA conversation.py (conv_llava_plain,
conv_vicuna_v0, conv_vicuna_v1) as its train.py writes them; `mistral` and `chatml` are those of
the LLaVA-NeXT checkpoints. The lengths that train.py computes are not taken over: they fit one
vocabulary only and mask whole samples when they do not add up. The template is saved with the
checkpoint, so the same one asks. Imports json, and transformers inside a function.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import DataError, UsageError
from trainers.recipe import Recipe

CURIOUS = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
CURIOUS_HUMAN = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
SYSTEMS = {"plain": "", "v0": CURIOUS_HUMAN, "v1": CURIOUS, "mistral": "",
           "chatml": "Answer the questions."}  # fmt: skip
ENDS = {"v0": "###", "plain": "\n"}
"""What ends a reply that no special token ends."""

# A picture gets a line of its own: it may stand before, between or after the words.
_WORDS = """
{%- macro words(content) -%}
{%- if content is string -%}{{ content | trim }}
{%- else -%}{%- for part in content -%}
{%- if part.type == 'image' -%}
{{ '\\n' if not loop.first and loop.previtem.type == 'text' }}IMAGE_MARK{{ '\\n' if not loop.last }}
{%- elif part.type == 'text' -%}{{ part.text | trim }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endmacro -%}
"""
_SYSTEM = """
{{- bos_token if bos_token -}}
{%- set ns = namespace(system=SYSTEM_TEXT) -%}
{%- if messages and messages[0].role == 'system' -%}
{%- set ns.system = words(messages[0].content) -%}
{%- endif -%}
"""
_PLAIN = """
{{- bos_token if bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' and m.content is not string -%}
{%- for part in m.content if part.type == 'image' -%}IMAGE_MARK{%- endfor -%}
{%- elif m.role == 'assistant' -%}
{%- generation -%}{{ words(m.content) + '\\n' }}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
_V0 = """
{{- ns.system + '\\n\\n' if ns.system -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}
{{- '###' if loop.first or messages[loop.index0 - 1].role != 'assistant' -}}
{{- ' Human: ' + words(m.content) + '\\n' -}}
{%- elif m.role == 'assistant' -%}
### Assistant:{%- generation -%}{{ ' ' + words(m.content) + '\\n###' }}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}### Assistant:{%- endif -%}
"""
_V0_HEADER = """
{{- ns.system + '\\n\\n' if ns.system -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'assistant' -%}
{%- generation -%}###{%- endgeneration -%}
{%- endif -%}
{{- ' Human: ' + words(m.content) + '\\n' -}}
{%- elif m.role == 'assistant' -%}
{%- generation -%}{{ '### Assistant: ' + words(m.content) + '\\n###' }}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}### Assistant:{%- endif -%}
"""
_V1 = """
{{- ns.system + ' ' if ns.system -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{ 'USER: ' + words(m.content) + ' ' }}
{%- elif m.role == 'assistant' -%}
ASSISTANT:{%- generation -%}{{ ' ' + words(m.content) + eos_token }}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}ASSISTANT:{%- endif -%}
"""
_MISTRAL = """
{%- for m in messages -%}
{%- if m.role == 'user' -%}
{{ '[INST] ' }}{{ ns.system + '\\n' if ns.system }}{{ words(m.content) + ' [/INST]' }}
{%- set ns.system = '' -%}
{%- elif m.role == 'assistant' -%}
{%- generation -%}{{ ' ' + words(m.content) + eos_token }}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}
"""
_CHATML = """
{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n' if ns.system -}}
{%- for m in messages -%}
{%- if m.role == 'user' -%}{{ '<|im_start|>user\\n' + words(m.content) + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{ words(m.content) + '<|im_end|>' }}{%- endgeneration -%}{{- '\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
_BODIES = {"plain": _PLAIN, "v0": _SYSTEM + _V0, "v1": _SYSTEM + _V1,
           "mistral": _SYSTEM + _MISTRAL, "chatml": _SYSTEM + _CHATML}  # fmt: skip
_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")


def text(name: str, system: str | None = None, image_mark: str = "<image>",
         header_loss: bool = False) -> str:  # fmt: skip
    """Return the jinja source of the template called `name`.

    Args:
        name: plain, v0, v1, mistral or chatml.
        system: What takes the place of its own system message; "" for none.
        image_mark: The processor's image token.
        header_loss: v0: the assistant's header and every separator are targets too.
    """
    body = _SYSTEM + _V0_HEADER if header_loss else _BODIES[name]
    body = body.replace("SYSTEM_TEXT", json.dumps(SYSTEMS[name] if system is None else system))
    return (_WORDS + body).replace("IMAGE_MARK", image_mark).strip()


def install(processor: Any, recipe: Recipe) -> str:
    """Give `processor` and its tokenizer the recipe's template and return it.

    Raises:
        DataError: `checkpoint` is asked for and the base has no template with generation marks.
    """
    tokenizer = processor.tokenizer
    if recipe.template == "checkpoint":
        found = processor.chat_template or tokenizer.chat_template
        if not found or not _MARKER.search(found):
            raise DataError(
                "the base model's chat template does not mark what the assistant says "
                "({% generation %}), so nothing is known to be a target; choose a template: "
                "plain, v0, v1, mistral or chatml"
            )
        if recipe.system is not None:
            raise UsageError("`system` needs one of our templates, not the checkpoint's own")
    else:
        if recipe.template in ("v1", "mistral") and not tokenizer.eos_token:
            raise DataError(f"the template {recipe.template} ends replies with the end-of-text "
                            "token, and the tokenizer has none")  # fmt: skip
        found = text(recipe.template, recipe.system, processor.image_token, recipe.header_loss)
    processor.chat_template = tokenizer.chat_template = found
    return str(found)


def render(
    template: str, messages: Sequence[Mapping[str, Any]], specials: Mapping[str, str]
) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of a conversation and the spans of it, in characters, that are targets."""
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, spans = render_jinja_template(
        conversations=[list(messages)],
        chat_template=template,
        return_assistant_tokens_mask=True,
        **specials,
    )
    return texts[0], [(int(start), int(end)) for start, end in spans[0]]
