"""A dataset version that was touched is found out, by file and row; a whole one can be read and trained on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from simpo.data.manifest import content_hash
from simpo.data.read import read_rows
from simpo.data.version import Version, check_version, is_version, listed_ids, open_version, read_checked
from simpo.errors import DataError
from tests.build.made import built, file_of, pairs, rows_of, write_rows

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Version]:
    folder = tmp_path_factory.mktemp("whole")
    source = write_rows(folder / "pairs.jsonl", pairs(60))
    return {kind: built(folder / kind, source, write=kind, split__test=0.2) for kind in ("jsonl", "parquet")}


@pytest.fixture(params=["jsonl", "parquet"])
def version(request: pytest.FixtureRequest, whole: dict[str, Version], tmp_path: Path) -> Version:
    """A copy that a test may spoil."""
    shutil.copytree(whole[request.param].path, tmp_path / "v")
    return open_version(tmp_path / "v")


def spoil(version: Version, change: Callable[[Rows], Any]) -> Path:
    """Change the rows of the training file and write it again."""
    path = file_of(version, "train")
    rows = rows_of(version, "train")
    change(rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def told(version: Version) -> list[str]:
    return [f"{Path(problem.where).name}: {problem.detail}" for problem in check_version(version)]


def swap(rows: Rows) -> None:
    rows[4]["chosen"], rows[4]["rejected"] = rows[4]["rejected"], rows[4]["chosen"]


def reword(rows: Rows) -> None:
    rows[4]["prompt"][0]["content"] += "?"


def recolour(rows: Rows) -> None:
    rows[4]["category"] = "other"


def blank(rows: Rows) -> None:
    rows[4]["chosen"][0]["content"] = ""


EDITS = [
    (swap, "chosen and rejected were swapped (row {id})"),
    (reword, "the prompt or a reply was changed (row {id}, whose texts now give {now})"),
    (recolour, "another column than prompt and replies was changed (row {id})"),
    (blank, "the row was damaged: it holds no pair (row {id})"),
]


@pytest.mark.parametrize(("change", "said"), EDITS, ids=[change.__name__ for change, _ in EDITS])
def test_an_edited_row_is_named_with_what_was_done(
    change: Callable[[Rows], None], said: str, version: Version
) -> None:
    row_id = listed_ids(version)["train"][4]
    path = spoil(version, change)
    now = [row.id for row in read_rows(path, on_bad_row="drop").rows]
    fresh = next((one for one in now if one not in listed_ids(version)["train"]), "")
    assert told(version) == [f"{path.name}:5: {said.format(id=row_id, now=fresh)}"]


def test_an_edit_that_brings_its_id_up_to_date_is_an_added_and_a_missing_row(version: Version) -> None:
    row_id = listed_ids(version)["train"][4]
    path = spoil(version, reword)
    fresh = read_rows(path).rows[4].id
    spoil(version, lambda rows: rows[4].update(id=fresh))
    assert told(version) == [
        f"{path.name}:5: the row was added (row {fresh})",
        f"{path.name}: the row {row_id}, which was number 5, is missing",
    ]


def test_rows_that_are_missing_doubled_or_moved_are_named(version: Version) -> None:
    ids = listed_ids(version)["train"]
    moved: Rows = rows_of(version, "train")[2:3]
    path = spoil(version, lambda rows: rows.extend([rows[7], rows.pop(2)][:1]))
    assert told(version) == [
        f"{path.name}:{len(ids)}: the row was there once more (row {ids[7]})",
        f"{path.name}: the row {ids[2]}, which was number 3, is missing",
    ]
    assert moved[0]["id"] == ids[2]


def test_rows_in_another_order_are_a_changed_file_and_no_changed_row(version: Version) -> None:
    path = spoil(version, lambda rows: rows.reverse())
    (only,) = told(version)
    assert only.startswith(f"{path.name}: the file was changed (sha256 ")


def test_without_the_list_of_rows_the_ids_in_the_rows_tell(version: Version) -> None:
    row_id = listed_ids(version)["train"][4]
    (version.path / "rows.txt").unlink()
    path = spoil(version, swap)
    assert sorted(told(version)) == sorted(
        ["rows.txt: the file is missing", f"{path.name}:5: chosen and rejected were swapped (row {row_id})"]
    )


def test_many_changed_rows_are_counted_and_not_all_listed(version: Version) -> None:
    spoil(version, lambda rows: [row.update(category="x") for row in rows])
    lines = told(version)
    assert len(lines) == 21
    assert lines[-1].endswith(f"{len(listed_ids(version)['train']) - 20} more rows differ")


def test_missing_cut_and_edited_files_are_told_without_a_traceback(version: Version) -> None:
    path = file_of(version, "test")
    path.write_bytes(path.read_bytes()[:-40])
    (version.path / "audit.json").unlink()
    (version.path / "README.md").write_text("mine")
    lines = told(version)
    assert "audit.json: the file is missing" in lines
    assert any(line.startswith("README.md: the file was changed") for line in lines)
    assert any(line.startswith(path.name) for line in lines) and len(lines) >= 3


def rewrite(version: Version, **values: Any) -> Version:
    """The manifest with other values, its own checksum left as it is."""
    path = version.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return open_version(version.path)


def test_an_edited_manifest_is_found_by_its_own_checksum(version: Version) -> None:
    edited = rewrite(version, simpo_version="9.9")
    assert told(edited) == ["manifest.json: the manifest was edited: its own checksum does not fit"]


def test_a_forged_manifest_is_found_by_the_content_of_the_rows(version: Version) -> None:
    """Files, their checksums and the list of rows all made to fit: the pairs are still others than the hash says."""
    path = spoil(version, lambda rows: rows.pop())
    lines = (version.path / "rows.txt").read_text().splitlines()
    train = [line for line in lines if line.startswith("train ")]
    (version.path / "rows.txt").write_text("\n".join(line for line in lines if line != train[-1]) + "\n")
    files = {
        name: {"sha256": _sha256(version.path / name), "bytes": (version.path / name).stat().st_size}
        for name in version.manifest.files
    }
    forged = rewrite(version, files=files)
    sealed = rewrite(forged, manifest_hash=forged.manifest.own_hash())
    assert told(sealed) == [
        f"{path.name}: the pairs are not those that the manifest's content hash was taken of"
    ]


def _sha256(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the manifest cannot be read"),
        ("[]", "not the manifest of a dataset version"),
        ('{"kind": "other"}', "not the manifest of a dataset version"),
        ('{"kind": "dataset_version", "schema": 2}', "of schema 2, and this simpo reads up to 1"),
        ('{"kind": "dataset_version", "schema": 1}', "the manifest is damaged: hash: Field required"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used_says_why(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    assert is_version(tmp_path)
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        open_version(tmp_path)


def test_a_manifest_cannot_name_files_outside_its_folder(version: Version) -> None:
    splits = version.manifest.to_json()["splits"]
    for name in ("../../etc/passwd", "/etc/passwd", "..", ".hidden"):
        splits["train"]["file"] = name
        with pytest.raises(DataError, match=r"the manifest is damaged: splits.train.file"):
            rewrite(version, splits=splits)


def test_a_split_is_read_with_the_hash_of_its_version(version: Version) -> None:
    path = file_of(version, "train")
    dataset = read_checked(path)
    assert dataset.version == version.hash and dataset.hash == version.manifest.splits["train"].hash
    assert content_hash(row.id for row in dataset.rows) == dataset.hash
    assert dataset.rows[0].extra.keys() >= {"ticket"}


def test_a_split_that_was_touched_is_not_read_and_the_row_is_named(version: Version) -> None:
    path = spoil(version, swap)
    with pytest.raises(DataError) as caught:
        read_checked(path)
    assert caught.value.where == f"{path}:5"
    assert "is not what was built: chosen and rejected were swapped" in caught.value.message
    assert f"`simpo data verify {version.path}`" in str(caught.value.fix)
    assert read_checked(file_of(version, "test")).version == version.hash  # the others are whole


def test_files_beside_a_version_and_of_two_versions_have_no_version(version: Version, tmp_path: Path) -> None:
    other = write_rows(version.path / "validation-2.jsonl", pairs(3))
    assert read_checked(other).version is None
    path = file_of(version, "train")
    assert read_checked([str(path), str(other)]).version is None


def test_a_manifest_of_something_else_beside_the_data_is_no_concern(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"files": []}')
    path = write_rows(tmp_path / "train.jsonl", pairs(3))
    assert read_checked(path).version is None
