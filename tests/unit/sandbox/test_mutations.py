from __future__ import annotations

import copy
import json
import math

import pytest

from scrape_do_sandbox.mutations import MISSING, MUTATION_NAMES, MUTATIONS, NAME_MUTATIONS, mutate_at

TIME = "2026-11-22T09:14:03.250Z"
JOB = {
    "JobID": "7b0d0000-0000-4000-8000-000000000011",
    "TaskIDs": ["a", "b"],
    "Status": "success",
    "StartTime": TIME,
    "EndTime": None,
    "Canceled": False,
    "LimitConcurrency": 3,
    "Tasks": [{"TaskID": "a", "Status": "success"}, {"TaskID": "b", "Status": "pending"}],
    "Scrape.do": {"Request-Cost": "25"},
    "Content": "+/" * 50 + "==",
}


@pytest.mark.parametrize(
    ("mutation", "value", "expected"),
    [
        ("missing", 1, MISSING),
        ("null", 1, None),
        ("empty", "x", ""),
        ("empty", [1], []),
        ("empty", {"a": 1}, {}),
        ("empty", 7, 0),
        ("empty", True, False),
        ("empty", None, None),
        ("other_type", True, "true"),
        ("other_type", 7, "7"),
        ("other_type", 0.5, "0.5"),
        ("other_type", "25", 25),
        ("other_type", "word", 4),
        ("other_type", ["x"], {"0": "x"}),
        ("other_type", {"a": 1}, [1]),
        ("other_type", None, None),
        ("as_true", 1, True),
        ("as_false", 1, False),
        ("as_number", "x", 7),
        ("as_fraction", "x", 0.5),
        ("as_text", 1, "text"),
        ("as_list", 1, []),
        ("as_object", 1, {}),
        ("upper", "success", "SUCCESS"),
        ("upper", ["a", 1], ["A", 1]),
        ("lower", "A", "a"),
        ("title", "success", "Success"),
        ("space_around", "x", " x "),
        ("lines_around", "x", "\r\nx\t\n"),
        ("other_spelling", "canceled", "cancelled"),
        ("other_spelling", "x", "x"),
        ("third_spelling", "success", "succeeded"),
        ("unknown_word", "success", "reticulating"),
        ("unknown_word", 1, 1),
        ("quoted", "x", '"x"'),
        ("non_ascii", "x", "\u00fcx"),
        ("null_character", "x", "x\0"),
        ("other_id", [], []),
        ("id_with_slash", "a", "a/x?y#z"),
        ("id_with_percent", "a", "a%2e"),
        ("id_of_one_dot", "a", "."),
        ("id_of_two_dots", ["a", "b"], ["..", ".."]),
        ("id_without_hyphens", "a-b", "ab"),
        ("negative", 7, -1),
        ("negative", "25", "-1"),
        ("zero", 7, 0),
        ("huge", 7, 1e308),
        ("beyond_64_bits", 7, 2**70),
        ("infinite", 7, math.inf),
        ("zero_time", None, "0001-01-01T00:00:00Z"),
        ("future_time", TIME, "2999-01-01T00:00:00Z"),
        ("past_time", TIME, "1970-01-01T00:00:00Z"),
        ("no_zone", TIME, "2026-11-22T09:14:03.250"),
        ("no_zone", "word", "word"),
        ("no_zone", None, None),
        ("offset_zone", TIME, "2026-11-22T09:14:03.250+00:00"),
        ("space_for_t", TIME, "2026-11-22 09:14:03.250+00:00"),
        ("nanoseconds", TIME, "2026-11-22T09:14:03.250000789Z"),
        ("date_only", TIME, "2026-11-22"),
        ("mail_time", TIME, "Sun, 22 Nov 2026 09:14:03 GMT"),
        ("epoch_number", TIME, 1795338843),
        ("epoch_milliseconds", TIME, 1795338843250),
        ("epoch_text", TIME, "1795338843"),
        ("in_object", 1, {"Value": 1}),
        ("in_list", 1, [1]),
        ("duplicate", ["a", "b"], ["a", "a", "b", "b"]),
        ("duplicate", "a", "a"),
        ("duplicate_first", ["a", "b"], ["a", "b", "a"]),
        ("all_the_first", ["a", "b"], ["a", "a"]),
        ("reversed", ["a", "b"], ["b", "a"]),
        ("first_missing", ["a", "b"], ["b"]),
        ("last_missing", ["a", "b"], ["a"]),
        ("null_entry", ["a"], [None, "a"]),
        ("number_entry", ["a"], [7, "a"]),
        ("text_entry", ["a"], ["text", "a"]),
        ("object_entry", ["a"], [{}, "a"]),
        ("list_entry", ["a"], [[], "a"]),
        ("no_padding", "eA==", "eA"),
        ("url_safe", "+/", "-_"),
        ("data_url", "eA==", "data:application/octet-stream;base64,eA=="),
        ("broken_lines", "x" * 80, "x" * 76 + "\r\nxxxx"),
        ("stray_character", "x", "*x"),
    ],
)
def test_each_mutation_does_what_its_name_says(mutation, value, expected):
    given = copy.deepcopy(value)
    assert MUTATIONS[mutation](value) == expected
    assert value == given


def test_ids_change_one_or_all():
    one, all_ = MUTATIONS["other_id"](["a", "b"]), MUTATIONS["all_other_ids"](["a", "b"])
    assert (one[1], one[0]) == ("b", MUTATIONS["other_id"]("a"))
    assert {"a", "b"}.isdisjoint(all_)
    assert len(MUTATIONS["id_of_201"]("a")) == 201


def test_long_values():
    assert len(MUTATIONS["long_10k"]("x")) == len(MUTATIONS["long_10k"](7)) == 10_000
    assert len(MUTATIONS["long_1m"]("x")) == 1_000_000
    assert len(MUTATIONS["long_10k"](["a", "b"])) == 250
    assert MUTATIONS["long_10k"]([]) == []


def test_surplus_entries_have_ids_of_their_own():
    ids = MUTATIONS["surplus"](["a"])
    tasks = MUTATIONS["surplus"](JOB["Tasks"])
    assert (ids[0], len(set(ids))) == ("a", 4)
    assert len({task["TaskID"] for task in tasks}) == 5
    assert MUTATIONS["surplus"]([{"JobID": "j"}])[1]["JobID"] != "j"
    assert len(MUTATIONS["surplus"]([])) == 3
    assert len(MUTATIONS["surplus_100k"](["a"])) == 100_001


def test_deep_nesting_and_no_number():
    depth, value = 0, MUTATIONS["deep"]("x")
    while isinstance(value, list):
        depth, value = depth + 1, value[0]
    assert depth == 250
    assert math.isnan(MUTATIONS["not_a_number"](1))


#: The paths of all fields of `JOB`.
PATHS = (
    *("JobID", "TaskIDs", "TaskIDs[]", "Status", "StartTime", "EndTime", "Canceled", "LimitConcurrency"),
    *("Tasks", "Tasks[]", "Tasks[].TaskID", "Tasks[].Status", "Scrape.do", "Scrape.do.Request-Cost", "Content"),
)


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_each_mutation_takes_each_value_and_leaves_it_alone(mutation):
    given = copy.deepcopy(JOB)
    changed = [mutate_at(JOB, mutation, path) for path in ("$", *PATHS)]
    assert given == JOB
    assert any(body != JOB for body in changed)
    assert all(body is MISSING or json.dumps(body) for body in changed)


@pytest.mark.parametrize(
    ("path", "mutation", "expected"),
    [
        ("Status", "null", {"Status": None}),
        ("Status", "missing", {"Status": MISSING}),
        ("Tasks[].Status", "upper", {"Tasks": [{**t, "Status": t["Status"].upper()} for t in JOB["Tasks"]]}),
        ("Tasks[1].Status", "upper", {"Tasks": [JOB["Tasks"][0], {"TaskID": "b", "Status": "PENDING"}]}),
        ("Tasks[0]", "missing", {"Tasks": JOB["Tasks"][1:]}),
        ("TaskIDs[]", "upper", {"TaskIDs": ["A", "B"]}),
        ("Scrape.do", "null", {"Scrape.do": None}),
        ("Scrape.do.Request-Cost", "negative", {"Scrape.do": {"Request-Cost": "-1"}}),
        ("Scrape", "null", {}),
        ("Status.X", "null", {}),
        ("Status[]", "null", {}),
        ("JobIDs", "null", {}),
        ("Tasks[]", "name_lower", {}),
    ],
)
def test_a_path_names_the_fields(path, mutation, expected):
    wanted = {name: value for name, value in {**JOB, **expected}.items() if value is not MISSING}
    assert mutate_at(JOB, mutation, path) == wanted


def test_the_longest_name_is_meant():
    body = {"Scrape": {"do": 1}, "Scrape.do": 2}
    assert mutate_at(body, "null", "Scrape.do") == {"Scrape": {"do": 1}, "Scrape.do": None}


@pytest.mark.parametrize(
    ("mutation", "name"),
    [
        ("name_lower", "status"),
        ("name_upper", "STATUS"),
        ("name_camel", "status"),
        ("name_padded", " Status "),
        ("name_unknown", "XStatus"),
    ],
)
def test_names_are_mutated_in_their_place(mutation, name):
    body = mutate_at(JOB, mutation, "Status")
    assert list(body) == [name if key == "Status" else key for key in JOB]
    assert body[name] == "success"
    assert mutate_at(JOB, mutation, "$") == JOB


def test_the_whole_body():
    assert mutate_at(JOB, "missing", "$") is MISSING
    assert mutate_at(JOB, "in_list", "$") == [JOB]
    assert set(MUTATION_NAMES) == {*MUTATIONS, *NAME_MUTATIONS}
