from __future__ import annotations

import base64
import binascii
import time
from email.utils import parsedate_to_datetime
from itertools import pairwise

import httpx
import pytest
from time_limits import check_time, wait_for_answer

from scrape_do_sandbox import SandboxThread
from scrape_do_sandbox.mutations import MUTATION_NAMES
from scrape_do_sandbox.timers import parse_time


@pytest.fixture(scope="module")
def server():
    with SandboxThread(task_seconds=0.1) as server:
        yield server


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture
def api(sandbox):
    client = httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "t"}, trust_env=False, timeout=10)
    with client:
        yield client


@pytest.fixture
def waiting(api, sandbox):
    """Return a job that does not end by itself."""
    sandbox.configure(task_seconds=1000)
    return create(api, "https://A.example/?n=1", "https://a.example/?n=2", "https://a.example/?n=3")["JobID"]


@pytest.fixture
def done(api, sandbox, waiting):
    """Return the same job after its end, and the path of its first task."""
    sandbox.advance(2000)
    return f"/jobs/{waiting}/{api.get(f'/jobs/{waiting}').json()['TaskIDs'][0]}"


def create(api, *targets):
    return api.post("/jobs", json={"Targets": list(targets) or ["https://a.example/"]}).json()


def test_statuses_with_and_without_retry_after(api, sandbox):
    sandbox.fault("status", kind="me", status=429, retry_after=1, times=1)
    sandbox.fault("status", kind="me", status=502, html=True, after=1, times=1)
    busy, broken, well = (api.get("/me") for _ in range(3))
    assert (busy.status_code, busy.headers["Retry-After"], busy.json()["Code"]) == (429, "1", 429)
    assert (broken.status_code, broken.headers["Content-Type"]) == (502, "text/html")
    assert well.status_code == 200
    assert [entry["faults"] for entry in sandbox.log()] == [["status"], ["status"], []]
    assert [(rule["seen"], rule["fired"]) for rule in sandbox.faults()] == [(1, 1), (2, 1)]


@pytest.mark.parametrize(("action", "bought"), [("reset_before", 0), ("reset_after", 1)])
def test_resets_before_and_after_the_work(api, sandbox, action, bought):
    sandbox.fault(action, kind="create_job", times=1)
    with pytest.raises(httpx.ReadError):
        create(api)
    assert [entry["status"] for entry in sandbox.log()] == ["reset"]
    assert sandbox.stats().get("jobs_created", 0) == len(sandbox.jobs()) == bought
    assert bool(sandbox.log()[0]["job_id"]) is bool(bought)


def test_a_post_is_accepted_after_the_client_gave_up(api, sandbox):
    sandbox.fault("accept_late", seconds=100, times=1)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/jobs", json={"Targets": ["https://a.example/late"]}, timeout=0.2)
    wait_for_answer(lambda: sandbox.stats()["connections_open"], lambda count: count <= 2)
    assert (sandbox.jobs(), sandbox.log()[0]["status"]) == ([], "held")
    sandbox.advance(101)
    [job] = wait_for_answer(sandbox.jobs, bool)
    assert job["targets"] == ["https://a.example/late"]
    assert sandbox.log()[0]["job_id"] == job["id"]


def test_slow_does_the_work_first(api, sandbox):
    sandbox.fault("slow", kind="create_job", seconds=3, times=1)
    with pytest.raises(httpx.ReadTimeout):
        api.post("/jobs", json={"Targets": ["https://a.example/"]}, timeout=0.2)
    assert len(sandbox.jobs()) == 1
    sandbox.fault("slow", kind="me", seconds=0.01)
    assert api.get("/me").status_code == 200


def test_a_drip_passes_a_read_timeout(api, sandbox):
    sandbox.fault("drip", kind="me", seconds=0.005, times=1)
    with api.stream("GET", "/me") as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) > 5
    assert b"AvaliableCredits" in b"".join(pieces)


def test_client_that_leaves_a_drip_or_a_slow_answer_is_no_error(api, sandbox, caplog):
    sandbox.fault("drip", kind="me", seconds=0.02, times=1)
    with api.stream("GET", "/me"):
        pass
    sandbox.fault("slow", kind="me", seconds=0.3, times=1)
    with pytest.raises(httpx.ReadTimeout):
        api.get("/me", timeout=0.05)
    wait_for_answer(sandbox.log, lambda log: [entry["status"] for entry in log] == [200, 200])
    assert [record for record in caplog.records if record.name == "aiohttp.server"] == []


def test_a_wrong_length_comes_after_the_true_one(api, sandbox):
    sandbox.fault("headers", kind="me", headers={"Content-Length": "5"}, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/me")
    assert api.get("/me").status_code == 200


def test_sandbox_stops_while_a_client_waits():
    with SandboxThread() as sandbox:
        sandbox.fault("slow", kind="me", seconds=60)
        sandbox.fault("accept_late", seconds=60)
        with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "t"}, trust_env=False) as client:
            for method, path in (("GET", "/me"), ("POST", "/jobs")):
                with pytest.raises(httpx.ReadTimeout):
                    client.request(method, path, timeout=0.1)
        started = time.monotonic()
    check_time(time.monotonic() - started, 5)


def test_a_body_is_cut(api, sandbox):
    sandbox.fault("cut", kind="me", times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        api.get("/me")
    assert api.get("/me").status_code == 200


def test_answers_that_are_no_json(api, sandbox):
    for action in ("html", "empty_204", "redirect_302"):
        sandbox.fault(action, kind="me", times=1)
    page = api.get("/me")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html")
    sandbox.clear_faults()
    sandbox.fault("empty_204", kind="me", times=1)
    assert (api.get("/me").status_code, api.get("/me").status_code) == (204, 200)
    sandbox.fault("redirect_302", value="/elsewhere")
    assert api.get("/me").headers["Location"] == "/elsewhere"


def test_nulls(api, sandbox, done):
    sandbox.fault("nulls")
    task = api.get(done).json()
    assert all(task[name] is None for name in ("ResponseHeaders", "Scrape.do", "StatusCode", "Base64EncodedContent"))
    assert task["Content"]


def test_distorted_tasks(api, sandbox, done):
    sandbox.fault("list_headers")
    sandbox.fault("unknown_status", value="Success")
    sandbox.fault("naive_times")
    sandbox.fault("bad_base64")
    task = api.get(done).json()
    assert (task["ResponseHeaders"]["Content-Type"], task["Status"]) == (["text/html; charset=utf-8"], "Success")
    assert not task["EndTime"].endswith("Z")
    with pytest.raises(binascii.Error):
        base64.b64decode(task["Content"])


def test_distorted_jobs(api, sandbox, waiting):
    path = f"/jobs/{waiting}"
    honest = api.get(path).json()
    for action in ("zero_times", "normalise_urls", "shuffle_task_ids"):
        sandbox.fault(action, seed=3)
    job = api.get(path).json()
    assert job["StartTime"] == "0001-01-01T00:00:00Z"
    assert job["Tasks"][0]["URL"].startswith("https://a.example/?n=")
    assert sorted(job["TaskIDs"]) == sorted(honest["TaskIDs"])
    assert job["TaskIDs"] != honest["TaskIDs"]


def test_urls_are_written_by_an_option_and_by_a_rule(api, sandbox, done):
    path = done.rsplit("/", 1)[0]
    assert api.get(done).json()["URL"] == "https://A.example/?n=1"
    sandbox.configure(urls="whatwg", full_list=True)
    assert api.get(done).json()["URL"] == "https://a.example/?n=1"
    assert api.get("/jobs").json()["Jobs"][0]["Tasks"][0]["URL"] == "https://a.example/?n=1"
    sandbox.configure(urls="go")
    job = create(api, "https://bücher.example/?b&a=2")["JobID"]
    sandbox.fault("write_urls", kind="get_job", job_id=job, value="go_encode")
    assert api.get(f"/jobs/{job}").json()["Tasks"][0]["URL"] == "https://b%C3%BCcher.example/?a=2&b="
    assert api.get(path).json()["Tasks"][0]["URL"] == "https://A.example/?n=1"
    assert [job["targets"][0] for job in sandbox.jobs()] == ["https://A.example/?n=1", "https://bücher.example/?b&a=2"]
    with pytest.raises(ValueError, match="urls"):
        sandbox.configure(urls="rust")


def test_answers_are_mutated(api, sandbox, done):
    path = done.rsplit("/", 1)[0]
    sandbox.fault("mutate", value="upper", fields=["Status", "Tasks[].Status", "Jobs[].Status"])
    assert (api.get(done).json()["Status"], api.get(path).json()["Status"]) == ("SUCCESS", "SUCCESS")
    assert {task["Status"] for task in api.get(path).json()["Tasks"]} == {"SUCCESS"}
    assert api.get("/jobs").json()["Jobs"][0]["Status"] == "SUCCESS"
    sandbox.clear_faults()
    sandbox.fault("mutate", value="missing", kind="get_job")
    sandbox.fault("mutate", value="missing", kind="get_task", fields=["Content"])
    assert api.get(path).content == b""
    assert "Content" not in api.get(done).json()
    sandbox.fault("mutate", value="other_type", kind="get_task", fields=["Code"])
    assert api.get(f"{path}/{path[-36:]}").json() == {"Error": "Task not found", "Code": "404"}


def test_every_mutation_of_every_field_goes_over_the_wire(api, sandbox, done):
    for name in MUTATION_NAMES:
        if name not in {"long_1m", "surplus_100k"}:
            sandbox.fault("mutate", value=name, fields=["TaskIDs", "Tasks", "Tasks[].Status", "StartTime"], times=1)
            assert api.get(done.rsplit("/", 1)[0]).status_code == 200


def test_headers_and_encodings(api, sandbox, done):
    sandbox.fault("headers", size=60_000)
    sandbox.fault("encoding", value="gzip", kind="get_task")
    answer = api.get(done)
    assert len(answer.headers["X-Sandbox-Filler"]) > 59_000
    assert answer.json()["Content"]
    sandbox.clear_faults()
    sandbox.fault("status", status=402, body_kind="gateway")
    sandbox.fault("encoding", value="gzip_cut", kind="me")
    assert api.get(done).json()["message"]
    with pytest.raises((httpx.DecodingError, ValueError)):
        api.get("/me").json()


def test_a_start_behind_the_date(api, sandbox, done):
    honest = api.get(done).json()["StartTime"]
    listed = api.get("/jobs").json()["Jobs"][0]["StartTime"]
    sandbox.configure(start_skew=200)
    assert api.get(done).json()["StartTime"] < honest
    shown = api.get("/jobs", params={"start_to": listed}).json()["Jobs"][0]["StartTime"]
    assert shown < listed
    assert api.get("/jobs", params={"start_from": shown, "start_to": shown}).json()["TotalCount"] <= 1
    assert api.get("/jobs", params={"start_from": listed}).json()["TotalCount"] == 0
    sandbox.fault("start_skew", seconds=-200)
    assert abs(parse_time(api.get(done).json()["StartTime"]) - parse_time(honest)) < 0.01


@pytest.mark.parametrize("by", ["option", "rule"])
def test_two_clocks_behind_one_address(api, sandbox, by):
    if by == "option":
        sandbox.configure(date_skew=1000)
    else:
        sandbox.fault("date_skew", seconds=1000)
    dates = [parsedate_to_datetime(api.get("/me").headers["Date"]).timestamp() for _ in range(4)]
    assert [abs(later - earlier) > 900 for earlier, later in pairwise(dates)] == [True] * 3


def test_pages_of_a_listing_overlap_or_leave_gaps(api, sandbox, waiting):
    sandbox.configure(task_seconds=1000)
    for place in range(6):
        create(api, f"https://a.example/{place}")
    honest = [job["JobID"] for job in api.get("/jobs").json()["Jobs"]]

    def listed():
        pages = api.get("/jobs", params={"page_size": 3}).json()["TotalPages"]
        bodies = [api.get("/jobs", params={"page_size": 3, "page": page + 1}).json() for page in range(pages)]
        return [job["JobID"] for body in bodies for job in body["Jobs"]]

    sandbox.fault("list_repeats")
    assert sorted(set(listed())) == sorted(honest)
    assert len(listed()) == 9
    sandbox.clear_faults()
    sandbox.fault("list_skips", count=2)
    assert len(listed()) == 5


def test_a_purchase_is_answered_with_another_job(api, sandbox, waiting):
    sandbox.fault("other_job", times=1)
    assert create(api, "https://b.example/")["JobID"] == waiting
    assert len(sandbox.jobs()) == 2
    sandbox.fault("other_job", value="unbought", times=1)
    assert create(api, "https://c.example/")["JobID"] == sandbox.jobs()[-1]["id"]
    assert len(sandbox.jobs()) == 2
    sandbox.reset()
    sandbox.fault("other_job", value="unbought")
    assert create(api)["JobID"] == sandbox.jobs()[0]["id"]


def test_equal_targets_may_have_one_task(api, sandbox):
    sandbox.configure(merge_equal_targets=True)
    answer = create(api, "https://a.example/", "https://b.example/", "https://a.example/")
    [job] = sandbox.jobs()
    assert len(answer["TaskIDs"]) == len(job["tasks"]) == 2
    assert len(job["targets"]) == 3


def test_job_keeps_its_url_writer_and_task_order(api, sandbox):
    targets = [f"https://B\u00fc.example/{place}" for place in range(3)]
    sandbox.configure(full_list=True)
    sandbox.fault("job_urls", target="/0", value="go")
    sandbox.fault("job_shuffles", target="/0")
    job = create(api, *targets)["JobID"]
    other = create(api, "https://B\u00fc.example/")["JobID"]
    shown = {entry["JobID"]: entry for entry in api.get("/jobs").json()["Jobs"]}
    whole = api.get(f"/jobs/{job}").json()
    # The tasks' states go on between two requests.
    assert shown[job]["TaskIDs"] == whole["TaskIDs"]
    assert [task["URL"] for task in shown[job]["Tasks"]] == [task["URL"] for task in whole["Tasks"]]
    urls = [task["URL"] for task in shown[job]["Tasks"]]
    assert sorted(urls) == [f"https://B%C3%BC.example/{place}" for place in range(3)] != urls
    assert api.get(f"/jobs/{job}/{shown[job]['TaskIDs'][0]}").json()["URL"] == urls[0]
    assert shown[other]["Tasks"][0]["URL"] == "https://B\u00fc.example/"
    assert next(sold["targets"] for sold in sandbox.jobs() if sold["id"] == job) == targets


def test_fractional_credits(api, sandbox):
    sandbox.fault("fractional_credits")
    assert api.get("/me").json()["AvaliableCredits"] == 1_000_000.5


def test_gone_and_not_found_at_first(api, sandbox, done):
    sandbox.fault("gone", target="n=1", times=1)
    assert api.get(done).json() == {"Error": "Task response content is no longer available.", "Code": 410}
    job = create(api)["JobID"]
    sandbox.fault("not_found_at_first", seconds=50)
    assert (api.get(f"/jobs/{job}").status_code, api.get(done).status_code) == (404, 200)
    sandbox.advance(51)
    assert api.get(f"/jobs/{job}").status_code == 200


def test_a_listing_that_lags(api, sandbox, waiting):
    sandbox.fault("list_lag", seconds=50)
    assert api.get("/jobs").json()["TotalCount"] == 0
    assert api.get(f"/jobs/{waiting}").status_code == 200
    sandbox.advance(51)
    assert api.get("/jobs").json()["TotalCount"] == 1


def test_jobs_without_a_start_are_sorted_last(api, sandbox, waiting):
    sandbox.advance(500)
    young = create(api)["JobID"]
    assert [job["JobID"] for job in api.get("/jobs").json()["Jobs"]] == [young, waiting]
    sandbox.fault("list_null_start")
    jobs = api.get("/jobs").json()["Jobs"]
    assert [job["JobID"] for job in jobs] == [waiting, young]
    assert jobs[1]["StartTime"] is None


def test_a_skewed_clock(api, sandbox, done):
    honest = api.get(done)
    sandbox.fault("skew", seconds=-3600)
    skewed = api.get(done)
    assert skewed.json()["EndTime"] < honest.json()["EndTime"]
    apart = parsedate_to_datetime(honest.headers["Date"]) - parsedate_to_datetime(skewed.headers["Date"])
    assert 3500 < apart.total_seconds() < 3700
    start = api.get("/jobs").json()["Jobs"][0]["StartTime"]
    assert api.get("/jobs", params={"start_from": start, "start_to": start}).json()["TotalCount"] <= 1


def test_a_skew_ends_with_its_own_answer(api, sandbox, done):
    """Skew one answer: the next one on the same connection has the real time."""
    honest = parsedate_to_datetime(api.get("/me").headers["Date"])
    sandbox.fault("skew", seconds=-3600, times=1)
    assert parsedate_to_datetime(api.get(done).headers["Date"]) < honest
    assert parsedate_to_datetime(api.get("/me").headers["Date"]) >= honest


def test_a_bad_rule_is_refused(sandbox):
    with pytest.raises(ValueError, match="action"):
        sandbox.fault("explode")
