from __future__ import annotations

import json

import pytest

from scrape_do_celery.models import Target
from scrape_do_celery.rules.target_lines import (
    FileFormat,
    TargetFileError,
    TargetLine,
    find_format,
    group_lines,
    read_target_lines,
    sample_items,
)

A, B, C = "https://a.example/", "https://b.example/?x=1#part", "https://c.example/"
CSV, JSONL, TEXT = FileFormat.CSV, FileFormat.JSONL, FileFormat.TEXT


def read(text, file_format=TEXT, column=None):
    return read_target_lines(text.splitlines(keepends=True), "urls", file_format, column)


def targets(text, file_format=TEXT, column=None):
    return [line.target for line in read(text, file_format, column)]


def fault(text, file_format=TEXT, column=None):
    with pytest.raises(TargetFileError) as caught:
        read(text, file_format, column)
    message = str(caught.value)
    start, end = "'urls': ", "; nothing was bought: correct the file, and repeat the command"
    assert message.startswith(start)
    assert message.endswith(end)
    return message.removeprefix(start).removesuffix(end)


@pytest.mark.parametrize(
    ("name", "given", "has_column", "found"),
    [
        ("urls.txt", None, False, TEXT),
        ("urls", None, False, TEXT),
        ("urls.CSV", None, False, CSV),
        ("urls.tsv", None, True, CSV),
        ("a.b.ndjson", None, False, JSONL),
        ("urls.jsonl", TEXT, False, TEXT),
        ("urls.txt", None, True, CSV),
        ("", None, True, CSV),
        ("", None, False, TEXT),
    ],
)
def test_format_of_a_file(name, given, has_column, found):
    assert find_format(name, given, has_column=has_column) is found


@pytest.mark.parametrize(("name", "given"), [("urls.jsonl", None), ("urls.csv", TEXT)])
def test_column_of_a_format_without_columns_is_refused(name, given):
    with pytest.raises(TargetFileError, match="which has no columns: leave --column out"):
        find_format(name, given, has_column=True)


def test_blank_lines_and_comments_of_a_text_do_not_count():
    assert targets(f"# all shops\n\n  {A}\t\r\n   \n  # {C}\n{B}\n{A}") == [A, B, A]
    assert targets("") == []


def test_wrong_lines_are_named_by_number_and_value():
    assert fault(f"{A}\n\nhtp://x\n{A} {B}\n") == (
        "line 3 'htp://x' is not an absolute http or https URL; "
        "line 4 'https://a.example/ https://b.example/?x=1#part' holds whitespace or control characters"
    )
    assert fault("x\n" * 1200).endswith("line 5 'x' is not an absolute http or https URL; and 1195 more")


def test_shown_value_is_one_short_line_without_credentials():
    shown = fault("ftp://user:secret@a.example/?token=secret&y=\x1b[2J\n")
    assert shown.startswith("line 1 'ftp://***@a.example/?token=***")
    assert "secret" not in shown
    assert "\x1b" not in shown
    assert len(fault("y" * 100_000)) < 150


def test_json_in_a_text_is_explained():
    assert "(read JSON lines with --format jsonl)" in fault('{"url": "https://a.example/"}\n')


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (f"url\n{A}\n{B}\n", None),
        (f"link\n{A}\n{B}\n", None),
        (f"{A}\n{B}\n", None),
        (f"id,URL\n1,{A}\n\n2,{B}\n", None),
        (f"id; url ;note\n1;{A};x\n2;{B};y\n", None),
        (f"id\tlink\n1\t{A}\n2\t{B}\n", "link"),
        (f"id,link\n1,{A}\n2,{B}\n", "LINK"),
        (f"id,link\n1,{A}\n2,{B}\n", "2"),
        (f"1,{A}\n2,{B}\n", "2"),
        (f"2,1\n{A},x\n{B},y\n", "2"),
        (f"url,url\n{A},x\n{B},y\n", "1"),
        (f'note,url\n"a\nb,c","{A}"\nd,{B}\n', None),
    ],
)
def test_urls_of_a_column(text, column):
    assert targets(text, CSV, column) == [A, B]


def test_cells_of_a_table_may_hold_the_separator():
    assert targets('url,note\n"https://a.example/?x=1,2",n\n', CSV) == ["https://a.example/?x=1,2"]


@pytest.mark.parametrize(
    ("text", "column", "named"),
    [
        (
            f"id,link\n1,{A}\n",
            None,
            "line 1 has no column 'url': name the column of the URLs by --column; the columns ",
        ),
        (f"id,link\n1,{A}\n", "site", "the columns are 'id', 'link'"),
        (f"id,link\n1,{A}\n", "3", "line 1 has no column '3'"),
        (f"url,URL,url\n{A},b,c\n", None, "line 1 has the column 'url' 2 times: give its number, such as --column 1"),
        (f'note,url\n"a\nb",{A}\nc\n', None, "line 4 has 1 columns, and no column 2 with a URL"),
        (f"note,url\n\na, \nb,{A}\n", None, "line 3 has no URL in column 2"),
        (f'note,url\n"a\n\nb",x y\nc,{A}\n', None, "line 2 'x y' holds whitespace or control characters"),
        (f'url\n{A}\n"never closed\n{B}\n', None, "line 3 begins a row that is no CSV: unexpected end of data"),
    ],
)
def test_wrong_rows_are_named_by_their_first_line(text, column, named):
    assert named in fault(text, CSV, column)


def test_json_lines_have_meta_and_options():
    first = json.dumps({"url": A, "meta": {"id": 1}, "geo_code": "de", "render": None})
    second = json.dumps({"super": True, "GeoCode": "us", "url": B})
    found = read(f'{first}\n\n{second}\n"{C}"\n', JSONL)
    assert found == [
        TargetLine(Target(A, {"id": 1}), '{"geo_code": "de"}', "urls, line 1"),
        TargetLine(B, '{"geo_code": "us", "super": true}', "urls, line 3"),
        TargetLine(C),
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "line 1 '{' is not JSON (Expecting property name"),
        (A, f"line 1 '{A}' is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ("[1]", "line 1 '[1]' is neither an object nor a URL in quotes"),
        ('"ftp://a"', "line 1 'ftp://a' is not an absolute http or https URL"),
        ('{"Url": "x"}', "line 1 has no url; did you mean Url?"),
        ('{"url": 7}', "line 1 '7' must be text (str), not int"),
        ('{"url": "\\ud800"}', "holds a lone surrogate"),
        (json.dumps({"url": A, "geocode": "us"}), "line 1 has no field 'geocode'; did you mean geo_code?"),
        (json.dumps({"url": A, "max_wait": 5}), "has 'max_wait', an option of the whole run: give it to the command"),
        (json.dumps({"url": A, "Plugin": {}}), "which a line cannot have: put it into a file for --request"),
        (json.dumps({"url": A, "meta": "x" * 2000}), "has data that is refused: meta has 2,002 bytes of JSON"),
        (f'{{"url": "{A}", "meta": NaN}}', "has data that is refused: meta"),
    ],
)
def test_wrong_json_lines_are_named(line, named):
    assert named in fault(f"{line}\n", JSONL)


def test_lines_with_equal_options_are_grouped_in_order():
    lines = [TargetLine(A), TargetLine(B, "x", "1"), TargetLine(C), TargetLine(A, "x", "2")]
    assert group_lines(lines) == [[lines[0], lines[2]], [lines[1], lines[3]]]
    assert group_lines([]) == []


def test_sample_is_in_order_and_the_same_for_a_seed():
    items = list(range(1000))
    found = sample_items(items, 10, 0)
    assert found == sorted(found) == sample_items(items, 10, 0)
    assert len(set(found)) == 10
    assert found != sample_items(items, 10, 1)
    assert sample_items(items, 1000, 0) == sample_items(items, 2000, 3) == items


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("url\nhttps://a.example/@52.5,13.4\n", "line 2 has 2 columns, and the first row has 1"),
        ("https://a.example/\nhttps://a.example/x,y,z\n", "line 2 has 3 columns, and the first row has 1"),
        ("id,url\n7,https://a.example/x,y\n", "line 2 has 3 columns, and the first row has 2"),
    ],
)
def test_url_that_the_separator_cuts_is_refused(text, shown):
    assert fault(text, CSV) == f"{shown}: put a URL that holds the separator in quotes"


def test_blank_cells_behind_the_header_do_not_count():
    assert targets(f"url\n{A},, \n", CSV) == [A]


def test_table_with_tabs_and_one_column_may_have_commas_in_its_urls():
    url = "https://a.example/@52.5,13.4"
    assert [one.target for one in read_target_lines(["url\n", f"{url}\n"], "urls.TSV", CSV)] == [url]
