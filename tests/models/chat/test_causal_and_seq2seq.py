"""What a model that runs here gets to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from moli.models.chat.causal import CausalChat
from moli.models.chat.conversation import prompt_ids_within
from moli.models.chat.load import load_chat, load_local_chat
from moli.models.chat.seq2seq import Seq2SeqChat
from moli.records.errors import ModelError
from moli.records.messages import Message

WORDS = "Passages lorem ipsum dolor Question which port user system assistant : ."
TEMPLATE = "{% for m in messages %}{{ m.role }} : {{ m.content }} {% endfor %}assistant :"
# The longest that the small models read.
ROOM = 64


def save(folder: Path, kind: str, template: str | None = None, **options: Any) -> str:
    """A random model of a kind with a tokenizer of a dozen words."""
    torch.manual_seed(0)
    raw = Tokenizer(models.WordLevel(unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordLevelTrainer(special_tokens=["<unk>", "<pad>", "</s>"])
    raw.train_from_iterator([WORDS], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        unk_token="<unk>",
        eos_token="</s>",
        model_max_length=ROOM,
        **({"pad_token": "<pad>"} | options),
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    size = len(fast)
    if kind == "t5":
        config = T5Config(
            vocab_size=size, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
            decoder_start_token_id=1, pad_token_id=1, eos_token_id=2,
        )  # fmt: skip
        T5ForConditionalGeneration(config).save_pretrained(folder)
    else:
        llama = LlamaConfig(
            vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=ROOM,
        )  # fmt: skip
        LlamaForCausalLM(llama).save_pretrained(folder)
    return str(folder)


def read_by(chat: CausalChat | Seq2SeqChat, *messages: Message) -> str:
    """What the model is given, in words."""
    return str(
        chat.tokenizer.decode(prompt_ids_within(chat.tokenizer, messages, chat.max_model_len))
    )


@pytest.mark.slow
def test_a_template_is_applied_with_its_opening_of_an_answer(tmp_path: Path) -> None:
    chat = load_local_chat(save(tmp_path, "llama", TEMPLATE))
    talk = (Message("system", "lorem"), Message("user", "which port"))
    assert read_by(chat, *talk) == "system : lorem user : which port assistant :"


def test_without_a_template_a_model_gets_the_words_alone(tmp_path: Path) -> None:
    chat = load_local_chat(save(tmp_path, "t5"))
    talk = (Message("system", "lorem"), Message("user", "which port"))
    assert read_by(chat, *talk) == "lorem which port"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_of_a_prompt_that_is_too_long_the_question_is_kept(tmp_path: Path, kind: str) -> None:
    chat = load_local_chat(save(tmp_path, kind))
    context = "Passages : " + "lorem ipsum dolor . " * 100
    read = read_by(chat, Message("user", f"{context} Question : which port"))
    assert read.endswith("Question : which port")
    assert len(read.split()) <= ROOM


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_an_answer_has_no_more_tokens_than_allowed(tmp_path: Path, kind: str) -> None:
    chat = load_local_chat(save(tmp_path, kind))
    for limit in (1, 3):
        answer = chat.complete((Message("user", "which port"),), max_tokens=limit)
        assert len(answer.split()) <= limit


@pytest.mark.slow
def test_a_model_that_ends_its_padding_with_its_text_answers(tmp_path: Path) -> None:
    chat = load_local_chat(save(tmp_path, "llama", TEMPLATE, pad_token=None))
    assert isinstance(chat.complete((Message("user", "which port"),), max_tokens=3), str)


@pytest.mark.slow
def test_a_model_that_is_not_on_this_machine_is_refused_without_a_network(
    dialled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The hub's client tries again and again, and sleeps longer each time: 20 seconds in all.
    monkeypatch.setattr("time.sleep", lambda _: None)
    with pytest.raises(ModelError, match="no-such-org/no-such-model"):
        load_chat("no-such-org/no-such-model")
    dialled.clear()


@pytest.mark.slow
def test_weights_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    folder = Path(save(tmp_path, "llama"))
    (folder / "model.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(ModelError):
        load_chat(str(folder))


@pytest.mark.slow
def test_many_threads_may_load_at_once() -> None:
    """In a process of its own, for what happens happens at the first import."""
    program = """
import threading
from moli.models.weights.loading import load_config
found = []
begin = threading.Barrier(4)
def load():
    begin.wait()
    found.append(load_config("builtin:starter").model_type)
threads = [threading.Thread(target=load) for _ in range(4)]
for each in threads: each.start()
for each in threads: each.join()
assert found == ["llama"] * 4, found
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
