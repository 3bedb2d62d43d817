"""The files of pairs: Parquet or JSON Lines with fixed settings, so that the same pairs give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from simpo.data.formats_own import COLUMNS, TURN_COLUMNS, row_digest
from simpo.data.manifest import INDEX, SPLITS, Split

ROW_GROUP = 10_000


class _Writer(Protocol):
    def write(self, row: Mapping[str, Any]) -> None: ...
    def close(self) -> None: ...


class _Lines:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n")

    def write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _Table:
    """Parquet in row groups of fixed size, zstd, without statistics of the texts."""

    def __init__(self, path: Path, with_tools: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = _schema(with_tools)
        self._rows: list[Mapping[str, Any]] = []
        self._pa = pa
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            version="2.6",
            compression="zstd",
            compression_level=3,
            use_dictionary=["category", "source"],
            write_statistics=["id", "category"],
            store_schema=False,
        )

    def write(self, row: Mapping[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            table = self._pa.Table.from_pylist(self._rows, schema=self._schema)
            self._writer.write_table(table, row_group_size=ROW_GROUP)
            self._rows.clear()

    def close(self) -> None:
        self._flush()
        self._writer.close()


def _schema(with_tools: bool) -> Any:
    import pyarrow as pa

    text = pa.string()
    turn = pa.struct([(name, text) for name in (TURN_COLUMNS if with_tools else TURN_COLUMNS[:2])])
    reply = pa.list_(pa.struct([(name, text) for name in TURN_COLUMNS[:2]]))
    types = {"prompt": pa.list_(turn), "chosen": reply, "rejected": reply}
    columns = COLUMNS if with_tools else [name for name in COLUMNS if name != "tools"]
    return pa.schema([(name, types.get(name, text)) for name in columns])


@dataclass(slots=True)
class Written:
    """One split as it was written: its file, its rows and their ids in order."""

    file: str
    ids: list[str] = field(default_factory=list)


class SplitFiles:
    """The files of the three splits, each made with its first row, and the list of all rows beside them.

    Rows must come by ascending id: then the bytes do not depend on the order in which they were read.
    """

    def __init__(self, folder: Path, kind: Literal["parquet", "jsonl"], with_tools: bool) -> None:
        self._folder, self._kind, self._with_tools = folder, kind, with_tools
        self._writers: dict[Split, _Writer] = {}
        self.written: dict[Split, Written] = {}
        self._index = (folder / INDEX).open("w", encoding="ascii", newline="\n")

    def __enter__(self) -> SplitFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.close()
        for writer in self._writers.values():
            writer.close()

    def write(self, split: Split, row: dict[str, Any]) -> None:
        """Write one pair, which `version_row` made with tools."""
        if split not in self._writers:
            path = self._folder / f"{split}.{self._kind}"
            self._writers[split] = _Table(path, self._with_tools) if self._kind == "parquet" else _Lines(path)
            self.written[split] = Written(path.name)
        shaped = row if self._with_tools else _without_tools(row)
        self._writers[split].write(shaped)
        self.written[split].ids.append(row["id"])
        self._index.write(f"{split} {row['id']} {row_digest(shaped)}\n")

    def in_order(self) -> dict[Split, Written]:
        """What was written, training first."""
        return {split: self.written[split] for split in SPLITS if split in self.written}


def _without_tools(row: dict[str, Any]) -> dict[str, Any]:
    prompt = [{"role": turn["role"], "content": turn["content"]} for turn in row["prompt"]]
    return {key: prompt if key == "prompt" else value for key, value in row.items() if key != "tools"}
