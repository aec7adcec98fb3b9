"""Control tokens of chat templates in plain texts, as data have them that were rendered before."""

from __future__ import annotations

import re

# Of ChatML, Llama, Phi, GLM, DeepSeek and others; of Mistral, Llama 2 and Gemma; of Alpaca and
# others, which write headings; and the end of a text.
_CONTROL_TOKEN = re.compile(
    r"<[|｜][\w▁]{1,32}[|｜]>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^#{2,3} ?(?:Instruction|Input|Response|Human|User|Assistant|System) ?:"
    r"|^#{2,3} ?(?:指令|输入|回答|回复) ?[:：]"
    r"|</s>(?=\s*\Z)",
    re.MULTILINE,
)


def control_tokens(text: str) -> set[str]:
    """The control tokens of any chat template that a text contains."""
    return set(_CONTROL_TOKEN.findall(text))
