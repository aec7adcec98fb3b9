"""Folders: what of them is data, and what is to be kept apart."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from moli.records.errors import InputError
from moli.records.examples import Text
from moli.workspace.datasets import read_dataset


def write(path: Path, text: str | None = None) -> None:
    """One row, in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([{"text": text or path.stem}])
    if path.suffix == ".arrow":
        with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path)
    else:
        path.write_text(json.dumps(table.to_pylist()[0]) + "\n")


def read(folder: Path) -> list[str]:
    result = [each.example for each in read_dataset(folder).examples]
    return [each.text for each in result if isinstance(each, Text)]


def refused(folder: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        read_dataset(folder)
    assert caught.value.where == str(folder)
    return caught.value


def test_splits_as_datasets_saves_them_are_kept_apart(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write(tmp_path / split / "data-00000-of-00001.arrow", split)
        files = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        (tmp_path / split / "state.json").write_text(json.dumps(files))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    error = refused(tmp_path)
    assert error.what == "these files are of 2 splits: train, test"
    assert error.fix == f"Give one of them: {tmp_path / 'train'} or {tmp_path / 'test'}."
    assert read(tmp_path / "train") == ["train"]


def test_splits_as_the_hub_has_them_are_kept_apart(tmp_path: Path) -> None:
    train = tmp_path / "data" / "train-00000-of-00001.parquet"
    test = tmp_path / "data" / "test-00000-of-00001.parquet"
    write(train)
    write(test)
    assert refused(tmp_path).fix == f"Give one of them: {train} or {test}."
    # Where a split has several files, no one path has all of it.
    write(tmp_path / "data" / "train-00001-of-00002.parquet")
    assert refused(tmp_path).fix.startswith("Put the files of each into a folder of its own")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.jsonl", "val.jsonl", "test.jsonl"), "train, val, test"),
        (("TRAIN.jsonl", "dev_1.jsonl"), "train, dev"),
        (("training/a.jsonl", "testing/a.jsonl"), "training, testing"),
        (("dev/train.jsonl", "dev/test.jsonl"), "train, test"),
        (("en/train.jsonl.gz", "en/eval.jsonl"), "train, eval"),
        (("valid/a.jsonl", "validation-a.jsonl"), "validation, valid"),
    ],
)
def test_a_split_is_known_by_a_name_of_file_or_folder(
    tmp_path: Path, names: tuple[str, ...], splits: str
) -> None:
    for name in names:
        write(tmp_path / name)
    assert refused(tmp_path).what.endswith(f"splits: {splits}")


@pytest.mark.parametrize(
    "names",
    [
        ("train-1.jsonl", "train-2.jsonl"),
        ("train/a.jsonl", "train/b.jsonl"),
        ("trains.jsonl", "testimony.jsonl", "valley.jsonl", "device/evaluations.jsonl"),
        ("a.jsonl", "test.jsonl"),
    ],
)
def test_one_split_is_read_whole(tmp_path: Path, names: tuple[str, ...]) -> None:
    folder = tmp_path / "test"  # above the folder that was given, names tell nothing
    for name in names:
        write(folder / name)
    assert len(read(folder)) == len(names)


def test_the_cache_of_datasets_is_no_data(tmp_path: Path) -> None:
    for name in ("data-00000-of-00001", "cache-0123456789abcdef", "tmp0"):
        write(tmp_path / f"{name}.arrow")
    (tmp_path / "state.json").write_text("{}")
    assert read(tmp_path) == ["data-00000-of-00001", "tmp0"]
    files = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(files))
    assert read(tmp_path) == ["data-00000-of-00001"]
    # Whatever the state names must be there.
    files["_data_files"].append({"filename": "data-00001-of-00001.arrow"})
    (tmp_path / "state.json").write_text(json.dumps(files))
    with pytest.raises(InputError, match=r"data-00001-of-00001\.arrow: no such file"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("训练集", "测试集"),
        ("训练", "验证"),
        ("客服训练集", "客服测试集"),
        ("lcqmc_train", "lcqmc_dev"),
        ("reviews.train.v2", "reviews.test.v2"),
    ],
)
def test_splits_are_told_by_any_word_of_a_name(names: tuple[str, str], tmp_path: Path) -> None:
    for name in names:
        write(tmp_path / f"{name}.jsonl")
    paths = [tmp_path / f"{name}.jsonl" for name in names]
    assert refused(tmp_path).fix == f"Give one of them: {paths[0]} or {paths[1]}."


def test_a_word_within_a_word_is_no_split(tmp_path: Path) -> None:
    for name in ("latest", "training", "constraint", "valley", "压力测试", "devices"):
        write(tmp_path / f"{name}.jsonl")
    assert len(read(tmp_path)) == 6


def test_a_file_without_rows_among_others_is_reported(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl")
    empty = tmp_path / "b.jsonl"
    empty.touch()
    for paths in (tmp_path, tmp_path / "*.jsonl", [tmp_path / "a.jsonl", empty]):
        dataset = read_dataset(paths)
        assert len(dataset.examples) == 1
        assert [(each.where, each.what) for each in dataset.malformed] == [
            (str(empty), "the file has no rows")
        ]
    with pytest.raises(InputError, match="the data set is empty"):
        read_dataset(empty)
