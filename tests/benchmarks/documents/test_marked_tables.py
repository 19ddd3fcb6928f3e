"""Between its markers a document says what the results say, and nothing else of it is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from kda_edge.benchmarks.documents.marked_tables import WIDTH, fill_documents, filled, wrapped

TEXT = """# Title
<!-- ours: a b -->
old
<!-- end -->
between <!-- ours -->
<!-- theirs: a b -->
kept
<!-- end -->
<!-- ours: c d -->
<!-- end -->
after
"""


def joined(first: str, second: str) -> str:
    return f"{first} and\n{second}"


def test_each_marker_of_ours_is_filled_by_its_words_and_all_else_is_left() -> None:
    made = filled(TEXT, "ours", joined)
    expected = TEXT.replace("old\n", "a and\nb\n").replace("c d -->\n", "c d -->\nc and\nd\n")
    assert made == expected
    assert filled(made, "ours", joined) == made
    assert filled("no marker\n", "ours", joined) == "no marker\n"


def test_a_marker_with_too_few_words_is_an_error_and_not_left_as_it_is() -> None:
    with pytest.raises(TypeError):
        filled("<!-- ours: a -->\nold\n<!-- end -->\n", "ours", joined)


def test_prose_is_wrapped_and_says_the_same_while_rows_of_tables_stay_as_they_are() -> None:
    row, name = f"| {'cell ' * 30}|", "x" * (WIDTH + 1)
    prose = "nano fp32, tile 256 px, measured on 2026-11-24 " * 8
    made = filled(
        "<!-- ours -->\n<!-- ours: a -->\n<!-- end -->\n",
        "ours",
        lambda _: f"{row}\n\n{prose}\n- {prose}\n- short\n{name}",
    )
    lines = made.splitlines()
    assert row in lines
    assert name in lines
    assert [line for line in lines if len(line) > WIDTH] == [row, name]
    paragraph, item = (part.split() for part in made.split(row)[1].split("- short")[0].split("\n- "))
    assert paragraph == item == prose.split()
    first = lines.index(next(line for line in lines if line.startswith("- nano")))
    assert lines[first + 1].startswith("  ")  # it stays in its item


@pytest.mark.parametrize("mark", ["-", "1.", "2)", "+", "#", ">"])
def test_no_line_of_wrapped_prose_begins_as_a_list_or_a_heading(mark: str) -> None:
    made = wrapped(f"word {mark} " * 60)
    assert made.split() == [*("word", mark)] * 60
    assert max(map(len, made.split("\n"))) <= WIDTH
    assert [line for line in made.split("\n") if line.startswith(f"{mark} ")] == []


def test_a_check_names_what_differs_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stale, fresh = tmp_path / "stale.md", tmp_path / "fresh.md"
    stale.write_text(TEXT)
    fresh.write_text(filled(TEXT, "ours", joined))
    documents = (str(stale), str(fresh))
    assert fill_documents(["--check"], "about", documents, "ours", joined) == 1
    assert capsys.readouterr().out == f"{stale} differs from the results\n"
    assert stale.read_text() == TEXT
    assert fill_documents([], "about", documents, "ours", joined) == 0
    assert capsys.readouterr().out == f"{stale} now agrees with the results\n"
    assert stale.read_text() == fresh.read_text()
    assert fill_documents(["--check"], "about", documents, "ours", joined) == 0
