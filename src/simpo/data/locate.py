"""What the user names to what is read: files, patterns of files, hub ids."""

from __future__ import annotations

import difflib
import glob
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from simpo.data.files import SUFFIXES
from simpo.data.reasons import shown
from simpo.data.tables import NumberedRow, table_rows
from simpo.errors import DataError

_ROWS_AT_ONCE = 1024
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[^:/]\S*)?")
_PACKINGS = (".gz", ".zst")
# What `datasets` writes beside the Arrow files of a data set, and of a folder of several splits.
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"


def locate(specs: Sequence[str]) -> list[Path | str]:
    """The files (and hub ids) that are named, a pattern such as `data/*.jsonl` being all that it matches, by name."""
    sources = [source for spec in specs for source in _located(spec)]
    if not sources:
        raise DataError("no file is given")
    seen: set[str] = set()
    for source in sources:
        key = str(source.resolve()) if isinstance(source, Path) else source
        if key in seen:
            raise DataError("the file is given twice", where=str(source), fix="name each file once")
        seen.add(key)
    return sources


def _located(spec: str) -> list[Path | str]:
    """One local path (of a saved data set its files), those that a pattern matches, or the hub id that the text is.

    A path that exists is never a hub id.
    """
    path = Path(os.path.expanduser(spec))
    try:
        if path.is_dir():
            if (path / _SAVED).is_file():
                return [*_saved(path)]
            inside = sorted(one.name for one in path.iterdir() if one.suffixes and _is_data(one.name))
            fix = f"name its files, for example {path / inside[0]}" if inside else "name a file"
            if (path / _SAVED_SPLITS).is_file():
                fix = f"name one of its splits: {', '.join(str(path / split) for split in _splits(path)) or 'none'}"
            raise DataError("a folder, not a file", where=spec or "''", fix=fix)
        # os.stat and not Path.exists, which takes a folder that may not be entered for a missing file.
        path.stat()
        return [path]
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read: {reason}", where=shown(spec)) from error
    if glob.has_magic(spec):
        matched = sorted(one for one in map(Path, glob.glob(str(path), recursive=True)) if not one.is_dir())
        if matched:
            return [*matched]
    if _HUB_ID.fullmatch(spec) and not _is_data(spec):
        return [spec]
    if glob.has_magic(spec):
        raise DataError("no file matches this pattern", where=spec)
    siblings = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    raise DataError(
        "no such file", where=spec, fix=f"did you mean {path.parent / near[0]}?" if near else None
    )


def _saved(folder: Path) -> list[Path]:
    """The files of a data set that `datasets` has saved to disk, in the order of its rows."""
    files = _said(folder / _SAVED, "_data_files")
    names = [one.get("filename") if isinstance(one, dict) else None for one in files]
    if not names or not all(isinstance(name, str) and name for name in names):
        raise DataError("does not name the files of the data set", where=str(folder / _SAVED))
    return [folder / str(name) for name in names]


def _splits(folder: Path) -> list[str]:
    return [split for split in _said(folder / _SAVED_SPLITS, "splits") if isinstance(split, str)]


def _said(path: Path, key: str) -> list[Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from error
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _is_data(name: str) -> bool:
    return name.endswith((*SUFFIXES, ".txt", *_PACKINGS))


def _found_hub() -> bool:
    """Whether the hub's name is known here: `datasets` would try for a minute, for a file whose name was mistyped.

    True where that cannot be told (behind a proxy), and where `datasets` was told not to ask.
    """
    if os.environ.get("HF_HUB_OFFLINE") or getproxies().get("https"):
        return True
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname
    try:
        return bool(socket.getaddrinfo(host, 443))
    except (OSError, UnicodeError):
        return False


def hub_rows(spec: str) -> Iterator[NumberedRow]:
    """The rows of a hub id `org/name` or `org/name:split`."""
    import datasets
    import pyarrow as pa
    from datasets.exceptions import DatasetsError

    name, _, split = spec.partition(":")
    if not (_found_hub() or Path(datasets.config.HF_DATASETS_CACHE, name.replace("/", "___")).is_dir()):
        raise DataError(
            "no such file here, and the hub cannot be reached",
            where=spec,
            fix="check the name and the connection, or download the data set and give its files",
        )
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except (DatasetsError, OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"no such file here, and the hub did not give it: {reason}",
            where=spec,
            fix="check the name, the split (`org/name:split`) and the connection, or download it and give the files",
        ) from error
    try:
        yield from table_rows(
            batch for part in rows.with_format("arrow").iter(_ROWS_AT_ONCE) for batch in part.to_batches()
        )
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"the copy of the data set here is damaged: {error}", where=spec) from error
