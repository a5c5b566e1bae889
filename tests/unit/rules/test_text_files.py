from __future__ import annotations

import codecs

import pytest

from scrape_do_celery.rules.text_files import NoTextError, decode_lines

TEXT = "https://a.example/é\r\n\nlast"
LINES = ["https://a.example/é\r\n", "\n", "last"]


def chunks(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [4, 7, 1000])
@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode("utf-16"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        TEXT.encode("utf-32"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
)
def test_lines_are_decoded_however_they_arrive(data, size):
    assert list(decode_lines(chunks(data, size))) == LINES


@pytest.mark.parametrize("data", [b"", codecs.BOM_UTF8])
def test_an_empty_file_has_no_lines(data):
    assert list(decode_lines([data])) == []


@pytest.mark.parametrize("size", [4, 1000])
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n\xff\xfec", "line 3 is not utf-8 text (byte 0xff): save the file as UTF-8"),
        (b"a\n\xc3", "line 2 is not utf-8 text (byte 0xc3)"),
        (b"a\nbc\0d", "line 2 holds a zero byte: the file is not text"),
        ("é\n".encode("latin-1"), "line 1 is not utf-8 text (byte 0xe9)"),
    ],
)
def test_what_is_no_text_is_named_by_its_line(data, text, size):
    with pytest.raises(NoTextError) as caught:
        list(decode_lines(chunks(data, size)))
    assert str(caught.value).startswith(text)
