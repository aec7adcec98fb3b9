"""What the files of an encoder ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from moli.models.encoders.encoder_files import EncoderFiles, read_encoder_files
from moli.records.errors import ModelError

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two", "query", ":")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An encoder's folder without weights, whose tokenizer has four words."""
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write(tmp_path / "config.json", {"model_type": "bert", "max_position_embeddings": 64})
    return tmp_path


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def read(folder: Path, name: str = "some/encoder") -> EncoderFiles:
    return read_encoder_files(folder, name)


@pytest.mark.parametrize(
    ("stated", "query", "passage"),
    [
        ({"query": "q: ", "document": "d: "}, "q: ", "d: "),
        ({"query": "q: ", "passage": "p: "}, "q: ", "p: "),
        ({"query": "q: ", "document": ""}, "q: ", ""),
        ({"query": "q: "}, "q: ", ""),
    ],
)
def test_prompts_are_those_of_the_models_files(
    folder: Path, stated: dict[str, str], query: str, passage: str
) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": stated})
    prompts = read(folder, "intfloat/e5-small").prompts
    assert (prompts.get("query", ""), prompts.get("passage", "")) == (query, passage)
    assert prompts.get("text", "") == ""


# As the models' own pages say.
@pytest.mark.parametrize(
    ("name", "query", "passage"),
    [
        ("intfloat/multilingual-e5-large", "query: ", "passage: "),
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", "Instruct: Given a web search query", ""),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: ", ""),
        ("BAAI/bge-base-zh-v1.5", "为这个句子生成表示以用于检索相关文章：", ""),
        ("BAAI/bge-m3", "", ""),
        ("Snowflake/snowflake-arctic-embed-m", "Represent this sentence for searching", ""),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", ""),
        ("nomic-ai/modernbert-embed-base", "search_query: ", "search_document: "),
        ("Qwen/Qwen3-Embedding-0.6B", "Instruct: Given a web search query", ""),
        ("thenlper/gte-base", "", ""),
        ("sentence-transformers/all-MiniLM-L6-v2", "", ""),
        ("some/code5-base", "", ""),
    ],
)
def test_prompts_of_well_known_models_are_known_by_name(
    folder: Path, name: str, query: str, passage: str
) -> None:
    prompts = read(folder, name).prompts
    assert prompts.get("query", "").startswith(query)
    assert bool(prompts.get("query", "")) == bool(query)
    assert prompts.get("passage", "") == passage


def test_a_prompt_is_put_before_the_texts_of_its_role(folder: Path) -> None:
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: "}})
    files = read(folder)
    assert files.token_ids(["one"], "query") == [[2, 6, 7, 4, 3]]
    assert files.token_ids(["one"], "passage") == files.token_ids(["one"], "text") == [[2, 4, 3]]
    assert files.prompt_length("query") == 3
    assert files.prompt_length("passage") == 0


@pytest.mark.parametrize(
    ("options", "pooling"),
    [
        ({}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
    ],
)
def test_pooling_is_read_in_its_old_and_its_new_form(
    folder: Path, options: dict[str, Any], pooling: str
) -> None:
    write(folder / "1_Pooling" / "config.json", options)
    assert read(folder).pooling == pooling


@pytest.mark.parametrize("options", [{"pooling_mode": ["cls", "mean"]}, {"pooling_mode": "new"}])
def test_pooling_of_another_kind_is_refused(folder: Path, options: dict[str, Any]) -> None:
    write(folder / "1_Pooling" / "config.json", options)
    with pytest.raises(ModelError, match="not supported"):
        read(folder)


def test_a_module_that_would_change_the_vectors_is_refused(folder: Path) -> None:
    kinds = ("Transformer", "Pooling", "LSTM")
    rows = [{"type": f"sentence_transformers.models.{kind}", "path": kind} for kind in kinds]
    write(folder / "modules.json", rows)
    with pytest.raises(ModelError, match="'LSTM'"):
        read(folder)


def test_a_text_is_read_to_the_smallest_length_that_any_file_states(folder: Path) -> None:
    assert read(folder).max_tokens == 64
    write(folder / "tokenizer_config.json", {"model_max_length": 48})
    assert read(folder).max_tokens == 48
    write(folder / "sentence_bert_config.json", {"max_seq_length": 32})
    assert read(folder).max_tokens == 32
    assert len(read(folder).token_ids(["one " * 100], "text")[0]) == 32


def test_positions_of_roberta_begin_after_the_padding(folder: Path) -> None:
    config = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    write(folder / "config.json", config)
    assert read(folder).max_tokens == 512


def test_a_folder_without_a_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="tokenizer"):
        read(folder)


def test_a_tokenizer_without_chinese_does_not_read_it(folder: Path) -> None:
    assert not read(folder).reads_chinese


def test_the_model_of_an_older_layout_is_in_a_folder_of_its_own(folder: Path) -> None:
    inner = folder / "0_Transformer"
    inner.mkdir()
    write(folder / "sentence_bert_config.json", {"max_seq_length": 32})
    for name in ("config.json", "tokenizer.json", "sentence_bert_config.json"):
        (folder / name).rename(inner / name)
    paths = {"Transformer": "0_Transformer", "Pooling": "1_Pooling"}
    rows = [{"type": f"sentence_transformers.models.{k}", "path": p} for k, p in paths.items()]
    write(folder / "modules.json", rows)
    write(folder / "1_Pooling" / "config.json", {"pooling_mode_cls_token": True})
    files = read(folder)
    assert (files.folder, files.max_tokens, files.pooling) == (inner, 32, "cls")


@pytest.mark.slow
def test_a_tokenizer_is_made_of_the_words_of_an_older_model(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    words = "\n".join((*WORDS, "[MASK]", "##s"))
    (folder / "vocab.txt").write_text(words, encoding="utf-8")
    write(folder / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer"})
    config = {"model_type": "bert", "max_position_embeddings": 64, "vocab_size": 10}
    write(folder / "config.json", config)
    assert read(folder).token_ids(["One twos"], "text") == [[2, 4, 5, 9, 3]]


def test_another_models_tokenizer_is_refused(folder: Path) -> None:
    write(folder / "config.json", {"model_type": "bert", "vocab_size": len(WORDS) - 1})
    with pytest.raises(ModelError, match="8 tokens, but the model has embeddings for 7"):
        read(folder)


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "LlamaForCausalLM"])
def test_a_model_for_something_else_is_no_encoder_unless_its_files_say_so(
    folder: Path, kind: str
) -> None:
    write(folder / "config.json", {"model_type": "bert", "architectures": [kind]})
    with pytest.raises(ModelError, match=f"something else .{kind}., not an encoder"):
        read(folder)
    write(folder / "1_Pooling" / "config.json", {"pooling_mode_lasttoken": True})
    assert read(folder).pooling == "lasttoken"
