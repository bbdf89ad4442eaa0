"""One table in three forms, and how numbers look in it."""

import xml.etree.ElementTree as ElementTree

import pytest

from experiments.reporting.tables import LINE, Table, counted, digits, estimates, html, interval, markdown, number, show

TABLE = Table(
    ("agent", "return"),
    [("maml", "[bold]-3.23"), LINE, ("a|b", "one\ntwo")],
    title="Returns [95 % interval]",
    caption="Of held-out tasks.",
)


def test_markdown_has_a_line_per_row_and_the_caption_below():
    assert markdown(TABLE) == (
        "| agent | return |\n|---|---|\n| maml | [bold]-3.23 |\n| a\\|b | one<br>two |\n\nOf held-out tasks.\n"
    )
    assert markdown(TABLE._replace(caption="", rows=[])) == "| agent | return |\n|---|---|\n"


def test_the_terminal_shows_every_cell_as_it_is(capsys):
    show(TABLE)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Returns [95 % interval]" and lines[-1] == "Of held-out tasks."
    assert " maml   [bold]-3.23" in lines and " a|b            one" in lines, "words left, numbers right, nothing is markup"
    assert lines[lines.index(" maml   [bold]-3.23") + 1] == "", "a gap between groups"


def test_a_narrow_terminal_folds_and_loses_no_digit(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    wide = Table(("agent", "number"), [("maml", "1234567890" * 3)])
    show(wide)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 20
    assert "".join(filter(str.isdigit, printed)) == "1234567890" * 3
    show(wide, least_width=60)
    assert "1234567890" * 3 in capsys.readouterr().out


def test_html_is_escaped_and_says_what_begins_a_group():
    root = ElementTree.fromstring(html(TABLE._replace(title="a < b"), wrap=(1,)))
    assert root.findtext("caption") == "a < b"
    rows = root.findall("tbody/tr")
    assert [row.get("class") for row in rows] == ["first", "first"] and rows[0].findtext("td") == "maml"
    assert [cell.get("class") for cell in root.findall("thead/tr/th")] == ["text", "wrap"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(-3.234), "-3.23"),
        (number(-1234.5), "-1,234"),
        (digits(0.5), "0.500"),
        (digits(663.4), "663"),
        (digits(1853.0), "1.85e+03"),
        (digits(0.1, 2), "0.10"),
        (interval([-1.0, 2.345]), "[-1.00, 2.35]"),
        (estimates([1.0], [[0.5, 1500.0]]), ["1.00 [0.50, 1,500]"]),
        (counted(1, "step"), "1 step"),
        (counted(0, "step"), "0 steps"),
    ],
)
def test_cells(shown, expected):
    assert shown == expected
