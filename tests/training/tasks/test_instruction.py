"""Supervised tokens of conversations: the assistant's words and the end of its turn, whatever the
template."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training.small_models import write_model

from moli.models.templates.chat_template import prompt_ids, render_for_training
from moli.records.errors import InputError
from moli.records.examples import Conversation, Pair, Text
from moli.records.messages import Message
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task

TALK = (
    Message("system", "w0 w1"),
    Message("user", "w2 w3"),
    Message("assistant", "w4 w5"),
    Message("user", "w6"),
    Message("assistant", "w7 w8 w9"),
)
# As real ones are written: ChatML, Llama 2's brackets, one that never ends a turn, and one that
# leaves earlier answers out of the history.
TEMPLATES = {
    "chatml": (
        "{% for m in messages %}{{ '<' + m.role + '> ' + m.content }}"
        "{% if m.role == 'assistant' %} {{ eos_token }}{% endif %} | {% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    ),
    "brackets": (
        "{% for m in messages %}{% if m.role == 'user' %}( {{ m.content }} ) "
        "{% elif m.role == 'assistant' %}{{ m.content }} {{ eos_token }} "
        "{% else %}{{ m.content }} {% endif %}{% endfor %}"
    ),
    "endless": (
        "{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    ),
    "forgetful": (
        "{% for m in messages %}{% if m.role != 'assistant' or loop.last %}"
        "{{ m.role }}: {{ m.content }} {% if m.role == 'assistant' %}{{ eos_token }} {% endif %}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    ),
}


def task_of(folder: Path, template: str) -> Any:
    base = write_model(folder / "base", "llama")
    task: Any = make_task(
        make_recipe({"task": "instruction", "base": base, "data": "unused.jsonl"})
    )
    task.tokenizer.chat_template = template
    return task


def supervised_words(task: Any, example: Any) -> list[list[str]]:
    """The supervised words, a list for each sample."""
    (group,) = task.samples([example], training=True)
    return [task.tokenizer.convert_ids_to_tokens(s.sequences[0][s.target].tolist()) for s in group]


@pytest.mark.parametrize("name", ["chatml", "brackets"])
def test_answers_and_their_ends_are_supervised_and_nothing_else(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES[name])
    assert supervised_words(task, Conversation(TALK)) == [
        ["w4", "w5", "[SEP]", "w7", "w8", "w9", "[SEP]"]
    ]


@pytest.mark.parametrize("name", ["chatml", "brackets", "forgetful"])
def test_who_says_a_mark_marks_nothing(name: str, tmp_path: Path) -> None:
    """Supervised tokens come right after the prompt that a server would send."""
    task = task_of(tmp_path, TEMPLATES[name])
    ask = Message("user", "w1 [SEP] w2 [SEP]")
    talk = (ask, Message("assistant", "w3"), ask, Message("assistant", "w5"))
    assert [word for each in supervised_words(task, Conversation(talk)) for word in each] == [
        *("w3", "[SEP]"),
        *("w5", "[SEP]"),
    ]
    (group,) = task.samples([Conversation(talk)], training=True)
    [sample] = group[-1:]
    alone = prompt_ids(task.tokenizer, talk[:-1])
    end = task.tokenizer.eos_token_id
    assert sample.sequences[0].tolist() == [*alone, task.tokenizer.convert_tokens_to_ids("w5"), end]
    assert task.template_problems([Conversation(talk)]) == []


def test_where_a_template_never_ends_a_turn_the_last_one_is_ended(tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES["endless"])
    assert supervised_words(task, Conversation(TALK[:3])) == [["w4", "w5", "[SEP]"]]
    assert task.template_problems([Conversation(TALK[:3])]) == [
        "the template does not end an answer; Moli adds the end"
    ]


def test_where_history_is_rewritten_each_answer_is_trained_as_it_would_be_served(
    tmp_path: Path,
) -> None:
    task = task_of(tmp_path, TEMPLATES["forgetful"])
    assert supervised_words(task, Conversation(TALK)) == [
        ["w4", "w5", "[SEP]"],
        ["w7", "w8", "w9", "[SEP]"],
    ]
    texts = [each.text for each in render_for_training(task.tokenizer, TALK)]
    assert "w4" in texts[0]
    assert "w4" not in texts[1]


def test_a_template_that_does_not_continue_its_prompt_is_refused(tmp_path: Path) -> None:
    task = task_of(
        tmp_path,
        "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}"
        "{% if add_generation_prompt %}now answer: {% endif %}",
    )
    with pytest.raises(InputError, match="does not write an answer as the continuation"):
        supervised_words(task, Conversation(TALK))


def test_a_template_that_refuses_is_reported(tmp_path: Path) -> None:
    task = task_of(tmp_path, "{{ raise_exception('no system turns') }}")
    with pytest.raises(InputError, match="no system turns"):
        supervised_words(task, Conversation(TALK))


def test_the_mask_is_that_of_the_templates_own_marks(tmp_path: Path) -> None:
    """transformers computes it by another way: from {% generation %} in the template."""
    marked = (
        "{% for m in messages %}{{ '<' + m.role + '> ' }}{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content + ' ' + eos_token }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %} | {% endfor %}"
        "{% if add_generation_prompt %}<assistant> {% endif %}"
    )
    task = task_of(tmp_path, marked)
    turns = [{"role": each.role, "content": each.content} for each in TALK]
    theirs = task.tokenizer.apply_chat_template(
        turns, return_dict=True, return_assistant_tokens_mask=True, add_special_tokens=False
    )
    mask = np.asarray(theirs["assistant_masks"]).reshape(-1)
    ((sample,),) = task.samples([Conversation(TALK)], training=True)
    size = len(sample.target)  # ours ends with the last answer
    assert sample.target.tolist() == mask[:size].astype(bool).tolist()
    assert not mask[size:].any()
    assert task.template_problems([Conversation(TALK)]) == []
    other = marked.replace(
        "{% generation %}{{ m.content", "{{ m.content[:2] }}{% generation %}{{ m.content[2:]"
    )
    task.tokenizer.chat_template = other
    for template in (other, other.replace("{% generation %}", "{%- generation -%}")):
        task.tokenizer.chat_template = template
        assert task.template_problems([Conversation(TALK)]) == [
            "the template marks different tokens as the assistant's"
        ]
    # Tokens in the texts of users, which only the template takes for its own, are no difference.
    task.tokenizer.chat_template = marked
    quoted = replace(TALK[1], content="w1 [SEP] w2")
    assert task.template_problems([Conversation((TALK[0], quoted, *TALK[2:]))]) == []
    # Of what is cut no token is missed.
    task.max_length = size - 3
    assert task.template_problems([Conversation(TALK)]) == []


def test_of_a_pair_the_target_is_supervised_and_of_a_text_all(tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES["chatml"])
    assert supervised_words(task, Pair("w1 w2", "w3")) == [["w3", "[SEP]"]]
    # The first token has none before it, so its mark counts for nothing.
    ((sample,),) = task.samples([Text("w1 w2 w3")], training=True)
    assert sample.supervised == 3
    assert sample.sequences[0][-1] == task.tokenizer.eos_token_id


def test_long_examples_are_truncated_and_their_lost_tokens_counted(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    task = make_task(
        make_recipe({"task": "instruction", "base": base, "data": "unused.jsonl", "max_length": 8})
    )
    long = Pair("w1", " ".join(["w2"] * 30))
    hopeless = Pair(" ".join(["w1"] * 30), "w2")
    cut, dropped = task.samples([long, hopeless], training=True)
    assert [each.size for each in cut] == [8]
    assert cut[0].truncated_tokens > 20
    assert dropped == []  # nothing of its answer would be left


def test_a_turn_that_answers_nobody_is_read_and_not_supervised(tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES["chatml"])
    opened = Conversation((Message("assistant", "w1 w2"), *TALK[1:3]))
    ((sample,),) = task.samples([opened], training=True)
    supervised = task.tokenizer.decode(sample.sequences[0][sample.target])
    assert supervised.split() == ["w4", "w5", "[SEP]"]
    alone = Conversation((Message("assistant", "w1 w2"),))
    assert task.samples([alone], training=True) == [[]]
    assert task.template_problems([alone, opened]) == []


def test_a_completion_of_nothing_is_trained_as_a_text_with_its_end(tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES["chatml"])
    ((sample,), (text,)) = task.samples([Pair(" ", "w1 w2"), Text("w1 w2")], training=True)
    assert sample.sequences[0].tolist() == text.sequences[0].tolist()
    assert task.tokenizer.decode(sample.sequences[0]).split() == ["w1", "w2", "[SEP]"]


def test_the_plain_template_asks_with_the_tokens_it_was_taught_with(tmp_path: Path) -> None:
    from moli.models.templates.chat_template import DEFAULT_CHAT_TEMPLATE
    from moli.training.tasks.pretraining import train_tokenizer

    task = task_of(tmp_path, DEFAULT_CHAT_TEMPLATE)
    task.tokenizer = train_tokenizer(["Assistant: Hello there. User: Hi, who are you?\n" * 20], 300)
    task.tokenizer.chat_template = DEFAULT_CHAT_TEMPLATE
    talk = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
    assert task.template_problems([talk]) == []
    ((sample,),) = task.samples([talk], training=True)
    supervised = task.tokenizer.decode(sample.sequences[0][sample.target])
    assert supervised == " Hello" + task.tokenizer.eos_token


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_turn_outside_of_the_loss_is_read_and_not_supervised(name: str, tmp_path: Path) -> None:
    task = task_of(tmp_path, TEMPLATES[name])
    first, last = TALK[2], TALK[4]
    without_first = (*TALK[:2], replace(first, supervised=False), *TALK[3:])
    assert supervised_words(task, Conversation(without_first)) == [["w7", "w8", "w9", "[SEP]"]]
    without_last = (*TALK[:4], replace(last, supervised=False))
    assert supervised_words(task, Conversation(without_last)) == [["w4", "w5", "[SEP]"]]
    neither = (*without_first[:4], without_last[4])
    assert task.samples([Conversation(neither)], training=True) == [[]]
    assert task.full_length(Conversation(neither)) == 0
    assert task.template_problems([Conversation(without_first)]) == task.template_problems(
        [Conversation(TALK)]
    )


def test_special_tokens_in_the_texts_of_users_are_counted(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base", "llama")
    values = {"task": "instruction", "base": base, "data": "unused.jsonl"}
    talks = [
        Conversation((Message("user", "w1 [SEP] w2 [SEP]"), Message("assistant", "w3 [CLS]"))),
        Pair("w1 [SEP]", "w2"),
        Pair("w1", "w2 [SEP]"),
        Text("w1 [SEP]"),
    ]
    task = make_task(make_recipe(values))
    assert task.count_broken_tokens(talks) == {"[SEP]": 2}
    task.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}[SEP]{% endfor %}"
    assert list(task.turn_tokens) == ["[SEP]"]
    allowed: Any = make_task(make_recipe({**values, "special_tokens": ["[SEP]"]}))
    assert allowed.count_broken_tokens(talks) == {}
    end = allowed.tokenizer.eos_token_id
    ((plain,), (read,)) = (each.samples(talks[:1], training=True)[0] for each in (task, allowed))
    assert list(read.sequences[0]).count(end) == list(plain.sequences[0]).count(end) + 2


def test_control_tokens_are_looked_for_where_they_are_out_of_place() -> None:
    values = {"task": "instruction", "base": "builtin:starter", "data": "unused.jsonl"}
    task = make_task(make_recipe(values))
    everything = "<|endoftext|> <|im_start|> <|im_end|> [INST]"
    named = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "[INST]"}
    assert task.control_tokens(Pair(everything, "w1")) == named
    # The assistant may use tokens that do not part turns.
    assert task.control_tokens(Pair("w1", everything)) == named - {"<|endoftext|>"}
    # A text is continued as it is, in the base's own form.
    assert task.control_tokens(Text(everything)) == {"[INST]"}
    assert task.control_tokens(Conversation(TALK)) == set()
    allowed = make_task(make_recipe({**values, "special_tokens": ["<|endoftext|>"]}))
    assert allowed.control_tokens(Pair(everything, "w1")) == named - {"<|endoftext|>"}
