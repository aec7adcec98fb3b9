"""Rows of Parquet and Arrow files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow
from moli.workspace.datasets.class_names import class_names, with_class_names
from moli.workspace.datasets.fields import Row

_FILE_MARK = b"ARROW1"  # of Arrow's format with an index, which Feather also is


def read_arrow(path: Path, suffix: str) -> Iterator[Row | MalformedRow]:
    """Rows of a Parquet file, an Arrow file or an Arrow stream.

    Raises:
        InputError: the file is damaged or incomplete.
    """
    import pyarrow as pa

    number = 0
    try:
        for batch in _batches(path, suffix):
            names = class_names(_features(batch.schema.metadata))
            nested = [field.name for field in batch.schema if pa.types.is_nested(field.type)]
            for values in batch.to_pylist():
                number += 1
                values |= {name: _without_nulls(values[name]) for name in nested}
                yield with_class_names(Row(f"{path} row {number}", values), names)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"unreadable {suffix[1:]} from row {number + 1} on ({' '.join(str(error).split())})",
            where=str(path),
            fix="Write the file again.",
        ) from error


def _batches(path: Path, suffix: str) -> Iterator[Any]:
    """The record batches of a file."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    if suffix == ".parquet":
        yield from pyarrow.parquet.ParquetFile(path).iter_batches()
        return
    with path.open("rb") as file:
        mark = file.read(len(_FILE_MARK))
    mapped = pa.memory_map(str(path))
    if mark == _FILE_MARK:
        reader = pa.ipc.open_file(mapped)
        yield from map(reader.get_batch, range(reader.num_record_batches))
    else:
        yield from pa.ipc.open_stream(mapped)


def _without_nulls(value: Any) -> Any:
    """A nested value without its nulls: Arrow gives each struct of a column the keys of all."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _features(metadata: Any) -> Any:
    """The description of the columns that `datasets` wrote into the file; None without one."""
    try:
        return json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return None
