"""A dataset version as a folder: opening it, seeing whether it is what was written, and reading its pairs."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from simpo.data.files import read_file
from simpo.data.formats_own import VERSION_FORMAT, row_digest
from simpo.data.locate import locate
from simpo.data.manifest import (
    INDEX,
    MANIFEST,
    SPLITS,
    Manifest,
    NotAVersion,
    Split,
    content_hash,
    read_manifest,
    version_hash,
)
from simpo.data.read import Spec, read_rows
from simpo.data.reasons import BadRow
from simpo.data.shapes import Parts
from simpo.data.toolcalls import tools_of
from simpo.errors import DataError
from simpo.records import Dataset, Pair, Source

MAX_PROBLEMS = 20  # of one file


@dataclass(frozen=True, slots=True)
class Version:
    """A folder that holds a dataset version, and its manifest."""

    path: Path
    manifest: Manifest

    @property
    def hash(self) -> str:
        """What identifies the version."""
        return self.manifest.hash

    def file(self, split: Split) -> Path | None:
        """The file of a split; None where the split has no rows."""
        part = self.manifest.splits.get(split)
        return None if part is None or part.file is None else self.path / part.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One place at which a version is not what was written: a file, or `file:row`."""

    where: str
    detail: str


def is_version(path: Path) -> bool:
    """Whether this is a folder with a manifest, damaged or not."""
    return (path / MANIFEST).is_file()


def open_version(path: Path | str) -> Version:
    """A version by its folder, of which the manifest is read; DataError where it is none that this simpo can read."""
    return Version(Path(path), read_manifest(Path(path)))


def read_checked(spec: Spec, **options: Any) -> Dataset:
    """As `read_rows`; what is a file of a dataset version has to be what was written, and is read as such.

    The data set knows the version's hash where all its files are of one. Raises DataError, which names file and row
    where the rows tell, for a version that differs from its manifest; also where the folder of a version is given,
    whose manifest cannot be read.
    """
    found: set[str | None] = set()
    for one in locate_files(spec):
        version, split = _version_of(one)
        if version is not None and split is not None:
            require_whole(version, split)
        found.add(version.hash if version is not None and split is not None else None)
    dataset = read_rows(spec, **options)
    return replace(dataset, version=found.pop()) if len(found) == 1 else dataset


def locate_files(spec: Spec) -> list[Path]:
    """The local files that are named; the folder of a version is opened, so that its manifest's error is told."""
    specs = [str(one) for one in ([spec] if isinstance(spec, (str, Path)) else spec)]
    for one in specs:
        if is_version(Path(one)):
            open_version(one)
    return [source for source in locate(specs) if isinstance(source, Path)]


def _version_of(path: Path) -> tuple[Version | None, Split | None]:
    """The version that a file is a split of, if any."""
    if path.stem not in SPLITS or not is_version(path.parent):
        return None, None
    try:
        version = open_version(path.parent)
    except NotAVersion:
        return None, None
    return version, next((split for split in SPLITS if version.file(split) == path), None)


def require_whole(version: Version, split: Split) -> None:
    """DataError unless the manifest and the file of a split have the hashes that were written."""
    problems = _manifest_problems(version)
    path = version.file(split)
    if not problems and path is not None:
        problems = _file_problems(version, path.name)
        if problems and path.is_file():
            problems = [*_row_problems(version, split, path, _index(version)), *problems]
    if not problems:
        return
    first, *others = problems
    more = f" (and {len(others)} more differences)" if len(others) > 1 else ""
    raise DataError(
        f"the dataset version is not what was built: {first.detail}{more}",
        where=first.where,
        fix=f"`simpo data verify {version.path}` lists every difference; restore the version, or build it again",
    )


def check_version(version: Version) -> list[Problem]:
    """Every difference between a version and what was written, all rows read; nothing for a whole one.

    Each file against its sha256, each row against the list of rows, the pairs of each split against their content
    hash, and the manifest against its own. At most 20 rows are told for each file, and how many more there are.
    """
    problems = _manifest_problems(version)
    differing = {name: _file_problems(version, name) for name in version.manifest.files}
    index = _index(version) if not differing.get(INDEX) else {}
    for split in SPLITS:
        path = version.file(split)
        if path is not None and path.is_file():
            rows = _row_problems(version, split, path, index)
            # A row that is named says more than that the file has changed.
            differing[path.name] = rows or differing.get(path.name, [])
    problems += [problem for found in differing.values() for problem in found]
    return problems


def _manifest_problems(version: Version) -> list[Problem]:
    manifest, where = version.manifest, str(version.path / MANIFEST)
    hashes = {split: part.hash for split, part in manifest.splits.items()}
    if manifest.manifest_hash != manifest.own_hash():
        return [Problem(where, "the manifest was edited: its own checksum does not fit")]
    if manifest.hash != version_hash(hashes):
        return [Problem(where, "the version's hash is not that of its splits")]
    unlisted = [
        part.file for part in manifest.splits.values() if part.file and part.file not in manifest.files
    ]
    return [Problem(where, f"{name} has no checksum") for name in unlisted]


def _file_problems(version: Version, name: str) -> list[Problem]:
    path, said = version.path / name, version.manifest.files[name]
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return [Problem(str(path), "the file is missing")]
    except OSError as error:
        return [Problem(str(path), f"the file cannot be read: {error.strerror or error}")]
    if digest == said.sha256:
        return []
    sizes = f", {size} bytes where {said.bytes} were written" if size != said.bytes else ""
    return [Problem(str(path), f"the file was changed (sha256 {digest[:12]}, not {said.sha256[:12]}{sizes})")]


_Index = Mapping[str, list[tuple[str, str]]]


def _index(version: Version) -> _Index:
    """The rows that were written, by split: (id, digest) in the file's order; nothing where the list is damaged."""
    if _file_problems(version, INDEX) if INDEX in version.manifest.files else True:
        return {}
    rows: dict[str, list[tuple[str, str]]] = {split: [] for split in SPLITS}
    for line in (version.path / INDEX).read_text(encoding="ascii").splitlines():
        split, row_id, digest = line.split()
        rows[split].append((row_id, digest))
    return rows


def listed_ids(version: Version) -> dict[str, list[str]]:
    """The ids of the pairs of each split as they were written, in the order of its file; not checked against it."""
    return {split: [row_id for row_id, _ in rows] for split, rows in _index(version).items()}


@dataclass(frozen=True, slots=True)
class _Seen:
    """A row as it stands in the file now; `content` is the id that its texts give, None where they are no pair."""

    number: int
    said: str
    content: str | None
    swapped: str | None
    digest: str


def _rows(path: Path) -> Iterator[_Seen]:
    for number, row in read_file(path):
        if isinstance(row, BadRow):
            yield _Seen(number, "", None, None, "")
            continue
        pair = _pair(row, number)
        content = None if pair is None else pair.id
        swapped = None if pair is None else replace(pair, chosen=pair.rejected, rejected=pair.chosen).id
        yield _Seen(number, str(row.get("id")), content, swapped, row_digest(row))


def _pair(row: Mapping[str, Any], number: int) -> Pair | None:
    try:
        (found,) = VERSION_FORMAT.read(row)
        tools = tools_of(row)
    except BadRow:
        return None
    if not isinstance(found, Parts):
        return None
    chosen, rejected = found.completions
    return Pair(found.prompt, chosen, rejected, Source("", number), tools=tools)


def _row_problems(version: Version, split: Split, path: Path, index: _Index) -> list[Problem]:
    """What is different in the rows of a split, which are in `path`, and in their content hash."""
    written = Counter(digest for _, digest in index.get(split, ()))
    ids: list[str] = []
    strange: list[_Seen] = []
    try:
        for seen in _rows(path):
            ids.append(seen.content or "")
            if index and written[seen.digest] > 0:
                written[seen.digest] -= 1
            elif index or seen.content != seen.said:
                strange.append(seen)
    except DataError as error:
        return [Problem(error.where or str(path), error.message)]
    missing = _missing(index.get(split, ()), written)
    problems = []
    for seen in strange:
        if index and seen.digest in written:
            what = f"the row was there once more (row {seen.said})"
        else:
            what = _what_happened(seen, missing, bool(index))
        problems.append(Problem(f"{path}:{seen.number}", what))
    problems += [
        Problem(str(path), f"the row {row_id}, which was number {number}, is missing")
        for row_id, numbers in missing.items()
        for number in numbers
    ]
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems = [*problems[:MAX_PROBLEMS], Problem(str(path), f"{more} more rows differ")]
    if not problems and content_hash(ids) != version.manifest.splits[split].hash:
        problems = [
            Problem(str(path), "the pairs are not those that the manifest's content hash was taken of")
        ]
    return problems


def _missing(listed: Any, left: Counter[str]) -> dict[str, list[int]]:
    """The rows that were written and not seen: their numbers by id."""
    missing: dict[str, list[int]] = defaultdict(list)
    left = +left
    for number, (row_id, digest) in enumerate(listed, 1):
        if left[digest] > 0:
            left[digest] -= 1
            missing[row_id].append(number)
    return missing


def _what_happened(seen: _Seen, missing: dict[str, list[int]], listed: bool) -> str:
    """What was done to a row that was not written so; a missing row that it explains is taken off the list."""
    if listed and seen.said not in missing:
        return f"the row was added (row {seen.said})" if seen.content else "the row was added, and is no pair"
    if seen.said in missing:
        missing[seen.said].pop(0)
        if not missing[seen.said]:
            del missing[seen.said]
    if seen.content is None:
        return f"the row was damaged: it holds no pair (row {seen.said})"
    if seen.content == seen.said:
        return f"another column than prompt and replies was changed (row {seen.said})"
    if seen.swapped == seen.said:
        return f"chosen and rejected were swapped (row {seen.said})"
    return f"the prompt or a reply was changed (row {seen.said}, whose texts now give {seen.content})"


__all__ = [
    "Problem",
    "Version",
    "check_version",
    "is_version",
    "listed_ids",
    "open_version",
    "read_checked",
    "require_whole",
]
