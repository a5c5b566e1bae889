from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from time_limits import wait_for_answer

from scrape_do_sandbox import SandboxThread

TERMINAL = {"success", "error", "canceled"}


@pytest.fixture(scope="module")
def server():
    with SandboxThread(task_seconds=0.1, webhook_ladder=(0.05, 0.05), webhook_later=0.1, webhook_timeout=5) as server:
        yield server


@pytest.fixture
def sandbox(server):
    server.reset()
    return server


@pytest.fixture
def api(sandbox):
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers={"X-Token": "secret"}, trust_env=False) as client:
        yield client


def create(api, *targets, **options):
    answer = api.post("/jobs", json={"Targets": list(targets) or ["https://a.example/"], **options})
    assert answer.status_code == 201
    return answer.json()


def finished(api, job_id):
    return wait_for_answer(lambda: api.get(f"/jobs/{job_id}").json(), lambda job: job["Status"] in TERMINAL)


OTHER = "00000000-0000-4000-8000-000000000000"


def refused(answer):
    body = answer.json()
    assert body["Code"] == answer.status_code
    return answer.status_code, body["Error"]


def test_every_endpoint_in_one_life(api):
    made = create(api, "https://a.example/1", "https://a.example/2")
    job = finished(api, made["JobID"])
    assert job["TaskIDs"] == made["TaskIDs"] == [task["TaskID"] for task in job["Tasks"]]
    assert (job["Status"], job["Canceled"], job["LimitConcurrency"]) == ("success", False, 0)
    task = api.get(f"/jobs/{made['JobID']}/{made['TaskIDs'][1]}").json()
    assert (task["URL"], task["StatusCode"], task["Scrape.do"]["Request-Cost"]) == ("https://a.example/2", 200, "1")
    listing = api.get("/jobs", params={"status": "success"}).json()
    assert (listing["TotalCount"], listing["PageSize"], listing["PageNumber"], listing["TotalPages"]) == (1, 10, 1, 1)
    assert set(listing["Jobs"][0]) == {"JobID", "TaskIDs", "Status", "StartTime", "EndTime"}
    assert api.get("/me").json()["AvaliableCredits"] == 999_998


def test_error_bodies(api, sandbox):
    job = create(api)
    task = job["TaskIDs"][0]
    assert refused(api.post("/jobs", json={"Targets": []})) == (400, "Targets must not be empty")
    assert refused(api.get("/jobs", params={"page_size": 101}))[0] == 400
    assert refused(api.get("/jobs/nonsense")) == (400, "jobID must be a UUID")
    assert refused(api.get(f"/jobs/{OTHER}")) == (404, "Job not found")
    assert refused(api.get(f"/jobs/{job['JobID']}/{OTHER}")) == (404, "Task not found")
    assert refused(api.get(f"/jobs/{OTHER}/{task}")) == (404, "Job not found")
    assert refused(api.put("/jobs")) == (404, "No such endpoint")
    finished(api, job["JobID"])
    assert refused(api.delete(f"/jobs/{job['JobID']}"))[0] == 406
    assert refused(api.get("/me", headers={"X-Token": ""}))[0] == 401
    sandbox.configure(token="other")
    assert refused(api.get("/me"))[0] == 401
    assert api.get("/me", headers={"X-Token": "other"}).status_code == 200


def test_cancel(api, sandbox):
    sandbox.configure(task_seconds=1000)
    job = create(api, "https://a.example/1")["JobID"]
    answer = api.delete(f"/jobs/{job}").json()
    assert (answer["Canceled"], answer["Status"]) == (True, "queuing")
    assert finished(api, job)["Status"] == "canceled"
    assert sandbox.jobs()[0]["tasks"][0] | {"id": "", "url": "", "ended_at": 0} == {
        "id": "",
        "url": "",
        "ended_at": 0,
        "status": "canceled",
        "fetched": 0,
        "sha256": None,
        "cost": 0,
    }


def test_options_change_what_is_answered(api, sandbox):
    sandbox.configure(full_list=True, create_status=200, credits=1)
    assert api.post("/jobs", json={"Targets": ["https://a.example"]}).status_code == 200
    assert "Tasks" in api.get("/jobs").json()["Jobs"][0]
    with pytest.raises(ValueError, match="concurrency"):
        sandbox.configure(concurrency=-1)
    with pytest.raises(ValueError, match="such"):
        sandbox._ask("GET", "nothing")
    sandbox.reset()
    assert sandbox.configure()["full_list"] is False


def test_the_clock_can_be_moved(api, sandbox):
    sandbox.configure(task_seconds=1000)
    made = create(api)
    sandbox.advance(1300)
    assert api.get(f"/jobs/{made['JobID']}").json()["Status"] == "success"
    sandbox.advance(72 * 3600)
    assert api.get(f"/jobs/{made['JobID']}").status_code == 404
    assert api.get("/jobs").json()["Jobs"] == []


def test_the_log_knows_what_was_asked_and_keeps_no_secret(api, sandbox):
    create(api, "https://a.example/1", Headers={"A": "hidden"}, Super=True)
    api.get("/me")
    posted, asked = sandbox.log()
    assert (posted["kind"], posted["status"], posted["targets"]) == ("create_job", 201, ["https://a.example/1"])
    assert posted["options"] == {"Super": True}
    assert (asked["kind"], sandbox.log(since=posted["index"])) == ("me", [asked])
    assert not any(word in json.dumps([posted, asked]) for word in ("secret", "hidden"))
    stats = sandbox.stats()
    assert (stats["jobs_created"], stats["tasks_created"], stats["requests"]) == (1, 1, 2)
    assert stats["connections_open"] >= 1


def raw(sandbox, data):
    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as sock:
        sock.sendall(data)
        received = b""
        while chunk := sock.recv(65536):
            received += chunk
        return received


def post(path, headers, body=b"", host="x"):
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "X-Token: t", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_large_bodies_and_long_heads(api, sandbox):
    assert create(api, *(f"https://a.example/{number}" for number in range(1000)), Body="x" * 5_000_000)
    assert api.get("/me", headers={"X-Long": "x" * 60_000}).status_code == 200
    assert refused(api.post("/jobs", content=b"x" * 34_000_000)) == (413, "Request body is too large")


def test_body_in_chunks(sandbox):
    body = b'{"Targets":["https://a.example/"]}'
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert raw(sandbox, post("/api/v1/jobs", ["Transfer-Encoding: chunked"], chunks)).startswith(b"HTTP/1.1 201")


def test_body_that_waits_to_be_asked_for(sandbox):
    body = b'{"Targets":["https://a.example/"]}'
    sent = post("/api/v1/jobs", ["Expect: 100-continue", f"Content-Length: {len(body)}"], body)
    assert raw(sandbox, sent).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")


def test_odd_requests(sandbox):
    assert b" 400 Bad Request" in raw(sandbox, b"HELLO\r\n\r\n")
    assert b"HTTP/1.1 401" in raw(sandbox, b"GET /api/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert raw(sandbox, post("/_sandbox/advance", ["Content-Length: 1"], b"{", "[::1]")).startswith(b"HTTP/1.1 400")
    assert raw(sandbox, post("/_sandbox/advance", [], host="localhost")).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebound.example"},
        {"Host": "rebound.example:8787"},
        {"Host": "127.0.0.1.example"},
        {"Host": "127.0.0.1@rebound.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "https://page.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_page_of_another_origin_controls_nothing(api, sandbox, headers):
    create(api)
    path = sandbox.url + "/_sandbox/reset"
    answer = httpx.post(path, content="{}", headers=headers, trust_env=False)
    assert refused(answer)[0] == 403
    assert httpx.get(sandbox.url + "/_sandbox/jobs", headers=headers, trust_env=False).status_code == 403
    assert len(sandbox.jobs()) == 1


def test_own_page_of_the_sandbox_controls_it(api, sandbox):
    create(api)
    headers = {"Origin": sandbox.url, "Sec-Fetch-Site": "same-origin"}
    assert httpx.post(sandbox.url + "/_sandbox/reset", json={}, headers=headers, trust_env=False).status_code == 200
    assert sandbox.jobs() == []


def test_a_client_that_leaves_in_the_middle_harms_nobody(api, sandbox, caplog):
    parts = urlsplit(sandbox.url)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    wait_for_answer(lambda: sandbox.stats()["connections_open"], lambda count: count <= 2)
    assert api.get("/me").status_code == 200
    assert [record for record in caplog.records if record.name == "aiohttp.server"] == []
