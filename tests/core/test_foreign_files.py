"""Files of other trackers, row by row, whatever is wrong in them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from livekit_tokens.core import foreign_files
from livekit_tokens.core.foreign_files import rows_of
from livekit_tokens.domain.errors import LedgerUnavailable


def read(path: Path, text: str) -> list[tuple[int, Any]]:
    path.write_text(text, "utf-8")
    return [(line, row if row is not None else fault) for line, row, fault in rows_of(path)]


def test_lines_of_json_are_rows_and_others_are_named(tmp_path: Path) -> None:
    found = read(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": \n[1]\n{"a": 2}')

    assert found == [(1, {"a": 1}), (3, "it is no JSON"), (4, "it is no JSON object"), (5, {"a": 2})]


def test_a_sheet_has_a_row_a_line_also_with_line_breaks_in_a_cell(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", '\ufeffa,b\n1,"x\ny"\n2\n3,z\n')

    assert found == [
        (3, {"a": "1", "b": "x\ny"}),
        (4, "it has more or fewer cells than the first line has names"),
        (5, {"a": "3", "b": "z"}),
    ]


def test_what_is_no_utf8_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    """A file that somebody saved as Latin-1: only the rows with such letters are left."""
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": "\xe9"}\n{"a": 2}\n')
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,2\n\xe9,2\n3,4\n")
    (tmp_path / "a.json").write_bytes(b'[{"a": 1}, {"a": "\xe9"}, {"a": 2}]')

    faults = {
        name: [(line, fault) for line, row, fault in rows_of(tmp_path / name) if row is None]
        for name in ("a.jsonl", "a.csv", "a.json")
    }
    why = "it is no UTF-8; save the file as UTF-8"
    assert faults == {"a.jsonl": [(2, why)], "a.csv": [(3, why)], "a.json": [(2, why)]}
    assert [row for _, row, _ in rows_of(tmp_path / "a.jsonl") if row] == [{"a": 1}, {"a": 2}]


def test_what_is_no_text_is_refused_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04\0\0\0")

    with pytest.raises(LedgerUnavailable, match="neither text in UTF-8 nor SQLite"):
        list(rows_of(tmp_path / "a.xlsx"))


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 16])
def test_an_array_is_read_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    """However the pieces fall."""
    monkeypatch.setattr(foreign_files, "_PIECE", piece)
    rows = [{"a": "x" * 20, "b": [1, {"c": "]"}]}, {"é": 12.5}, {}]

    found = read(tmp_path / "a.json", json.dumps(rows, indent=1, ensure_ascii=False))

    assert found == [(1, rows[0]), (2, rows[1]), (3, rows[2])]


def test_an_array_that_is_cut_off_says_so_at_its_end(tmp_path: Path) -> None:
    found = read(tmp_path / "a.json", '[{"a": 1}, 5, {"a": ')

    assert found[:2] == [(1, {"a": 1}), (2, "it is no JSON object")]
    assert found[2][0] == 3
    assert "the rest is left out" in found[2][1]


def test_a_compressed_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n'))

    assert [row for _, row, _ in rows_of(tmp_path / "a.jsonl.gz")] == [{"a": 1}]


@pytest.mark.parametrize("piece", [40, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
def test_answers_of_a_document_store_are_read_document_by_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int, indent: int | None
) -> None:
    """As Cosmos DB gives them: one, or several one after the other."""
    monkeypatch.setattr(foreign_files, "_PIECE", piece)
    rows = [{"a": {"b": [1]}}, {"a": "]}"}, {"a": 3}]
    answers = [{"_rid": "x=", "Documents": rows[:2], "_count": 2}, {"_rid": "x=", "Documents": rows[2:], "_count": 1}]

    found = read(tmp_path / "a.json", "\n".join(json.dumps(answer, indent=indent) for answer in answers))

    assert found == [(1, rows[0]), (2, rows[1]), (3, rows[2])]


def test_objects_over_several_lines_are_rows(tmp_path: Path) -> None:
    one = json.dumps({"a": 1, "b": {"c": 2}}, indent=2)

    assert read(tmp_path / "a.json", one + "\n") == [(1, {"a": 1, "b": {"c": 2}})]
    assert [line for line, _ in read(tmp_path / "b.json", f"{one}\n{one}")] == [1, 2]
    line, fault = read(tmp_path / "c.json", one + '\n{"a": ')[1]
    assert (line, "the rest is left out" in fault) == (2, True)


def test_a_damaged_first_line_leaves_the_others(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", '{"a": \n{"a": 2}\n') == [(1, "it is no JSON"), (2, {"a": 2})]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_sheet_may_have_its_cells_between_other_signs(tmp_path: Path, sign: str) -> None:
    text = f"a{sign}b\n1{sign}" + ('"2,5"' if sign == "," else "2,5") + "\n"

    assert read(tmp_path / "a.csv", text) == [(2, {"a": "1", "b": "2,5"})]
