"""Check the habits that make readers stumble. `python -m tests.docs.prose --write` lowers the allowed numbers."""

from __future__ import annotations

import pytest

from tests.docs import prose
from tests.docs.prose import AREAS, HABITS, complaint, habits_of, hits_in, is_within_limit, read_allowed, sentences_of

BAD = {
    "relative start": "What died before its end is dispatched again.",
    "indefinite subject": "The lease belongs to whoever has the highest fence.",
    "condition by where": "The step waits where there is no free slot.",
    "unnamed quantity": "The step runs again after so many seconds.",
    "passive duty": "The run is to end at its deadline.",
    "noun by relative clause": "The worker with the oldest lease is the one that polls.",
    "pronoun start": "They are dispatched again after five seconds.",
}
GOOD = [
    "Dispatch a step again if its process died.",
    "The lease belongs to the step with the highest fence.",
    "If no slot is free, the step waits in line.",
    "What does a lease protect?",
    "Run the step again after `RETRY_AFTER` seconds, for as long as the run has no outcome.",
]
LONG = " ".join(["The worker reads the record,"] * 9)

#: Positions in which a sentence may stand: file, kind and line of the text, and the source.
TEXTS = {
    "docstring": ("a.py", "docstring", 1, '"""{}"""\n'),
    "docstring of a function": ("a.py", "docstring", 4, 'def run():\n    """Run.\n\n    {}\n    """\n'),
    "comment": ("a.py", "comment", 1, "x = 1  # {}\n"),
    "comment of two lines": ("a.py", "comment", 2, "x = 1\n# The sentence\n# before. {}\n"),
    "log": ("a.py", "log", 1, 'log.warning("{} Run %s.", run_id)\n'),
    "log with a format": ("a.py", "log", 1, 'log.info(f"{{run}}: {}")\n'),
    "error": ("a.py", "error", 1, 'raise ValueError(f"run {{run_id}}: {}")\n'),
    "error that is not raised here": ("a.py", "error", 1, 'error = PoisonedRunError("{}", run_id)\n'),
    "paragraph": ("a.md", "paragraph", 3, "# A title\n\nA sentence before.\n{}\n"),
    "item of a list": ("a.md", "paragraph", 2, "- A first item\n- {}\n"),
    "comment in Lua": ("a.lua", "comment", 2, "local t = now()\n-- {}\n"),
}


@pytest.mark.parametrize("habit", BAD)
@pytest.mark.parametrize("place", TEXTS)
def test_bad_sentence_is_found_with_its_habit(place, habit):
    path, kind, line, text = TEXTS[place]
    found = habits_of(path, text.format(BAD[habit]))
    assert [(name, hit.kind, hit.line) for name, hit in found] == [(habit, kind, line)]


@pytest.mark.parametrize("place", TEXTS)
def test_good_sentences_are_not_found(place):
    path, _, _, text = TEXTS[place]
    for sentence in GOOD:
        assert habits_of(path, text.format(sentence)) == []


def test_long_sentence_is_found():
    assert [name for name, _ in habits_of("a.md", LONG)] == ["long sentence"]
    assert habits_of("a.md", " ".join(["word"] * prose.MAX_WORDS)) == []


def test_code_and_tables_are_no_prose():
    bad = BAD["passive duty"]
    source = f"```text\n{bad}\n```\n\n| a | {bad} |\n\n<!-- {bad} -->\n\n    {bad}\n"
    assert list(sentences_of("a.md", source)) == []
    assert habits_of("a.py", f'x = {{"key": "is to be"}}  # noqa: S101\ny = "{bad}"\n')[0][1].kind == "text"
    assert list(sentences_of("a.py", f'y = "{bad}"\n', strings=False)) == []


def test_a_number_goes_down_only():
    hits = [hit for _, hit in habits_of("a.md", "\n\n".join([BAD["passive duty"]] * 7))]
    assert complaint(hits, 7, is_within_limit=False) == ""
    assert "rephrase" in complaint(hits, 6, is_within_limit=False)
    assert complaint(hits, 6, is_within_limit=False).count("a.md:") == 5
    assert "lower the number to 7" in complaint(hits, 8, is_within_limit=False)
    assert "rephrase" in complaint(hits, None, is_within_limit=False)
    assert "take its entry out" in complaint(hits, 7, is_within_limit=True)
    assert complaint(hits, None, is_within_limit=True) == ""


def test_lowering_raises_no_number(monkeypatch):
    found = len(hits_in("src", "pronoun start"))
    monkeypatch.setattr(prose, "is_within_limit", lambda *_: False)
    assert prose.lowered({"src": {"pronoun start": found - 1}}) == {"src": {"pronoun start": found - 1}}
    assert prose.lowered({"src": {"pronoun start": found + 1}}) == {"src": {"pronoun start": found}}
    monkeypatch.setattr(prose, "is_within_limit", lambda *_: True)
    assert prose.lowered({"src": {"pronoun start": found}}) == {"src": {}}


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("area", AREAS)
def test_habit_is_as_rare_as_allowed(area, habit):
    allowed = read_allowed().get(area, {}).get(habit)
    why = complaint(
        hits_in(area, habit), allowed, is_within_limit=is_within_limit(area, habit), name=f"{habit} in {area}"
    )
    assert not why, f"{why}\nrun: python -m tests.docs.prose --write (it only lowers numbers; --list shows each place)"


def test_every_area_and_habit_of_the_table_exists():
    table = read_allowed()
    assert set(table) == set(AREAS)
    assert {habit for numbers in table.values() for habit in numbers} <= set(HABITS)
    assert all(len(prose.sentences_in(area)) > 300 for area in AREAS)
