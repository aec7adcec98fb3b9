"""Control tokens of chat templates in texts."""

from __future__ import annotations

import pytest

from moli.models.templates.control_tokens import control_tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("<|im_start|>user\nHi<|im_end|>", {"<|im_start|>", "<|im_end|>"}),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
         {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}),
        ("<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s>",
         {"[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "</s>"}),
        ("<start_of_turn>user\nHi<end_of_turn>", {"<start_of_turn>", "<end_of_turn>"}),
        ("<|user|>\nHi<|end|>\n<|assistant|>", {"<|user|>", "<|end|>", "<|assistant|>"}),
        ("<｜User｜>Hi<｜Assistant｜>", {"<｜User｜>", "<｜Assistant｜>"}),
        ("<｜begin▁of▁sentence｜>Hi", {"<｜begin▁of▁sentence｜>"}),
        ("Below is one.\n\n### Instruction:\nHi\n\n### Response:",
         {"### Instruction:", "### Response:"}),
        ("### 指令：\n你好\n### 回答：", {"### 指令：", "### 回答："}),
        ("### Response times", set()),
        ("The header '### Instruction:' is Alpaca's.", set()),
        ("a[1], |x| < y, <b>bold</b>, <s>old</s> new, map(|x| x + 1), a <| b |> c", set()),
        ("List<String> | [INSTALL] | ## Input and output", set()),
    ],
)  # fmt: skip
def test_tokens_of_any_template_are_found_and_nothing_else(text: str, tokens: set[str]) -> None:
    assert control_tokens(text) == tokens
