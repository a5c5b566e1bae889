"""Test exports of runs from a real store: all formats, a killed process, and the memory for many pages of 1 MB."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import signal
import subprocess
import sys
import time

import pyarrow.parquet
import pytest
from warcio.archiveiterator import ArchiveIterator

from scrape_do_celery import Target
from scrape_do_celery.models import JobDetails, TaskDetails, UndetailedTaskResponse
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.store import PartId, RunSpec
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome

PAGES, MEGABYTE = 200, 1_000_000
EXPORT = """
import json, re, sys
from scrape_do_celery import RunHandle

report = RunHandle(sys.argv[1]).export(sys.argv[2], format=sys.argv[3], rows_per_shard=50)
# `ru_maxrss` also counts the process that this one was forked from.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())
print(json.dumps([report.rows, int(peak[1])]))
"""


@pytest.mark.long
def test_a_run_is_exported_in_each_format(pipeline, tmp_path):
    inputs = [
        Target("https://a.example/", {"sku": 1}),
        "https://b.example/?binary=1&size=2000",
        "https://c.example/?sandbox=error",
        Target("https://a.example/", 2),
    ]
    pipeline.work()
    handle = pipeline.enqueue(inputs, dedupe=True)
    handle.result(timeout=60)
    tasks = list(handle.iter_tasks())
    pages = [task.decoded_content() if task.is_success else None for task in tasks]
    expected = [(task.url, str(task.status), task.meta) for task in tasks]
    digests = [page and hashlib.sha256(page).hexdigest() for page in pages]

    done = pipeline.run_tool("export", handle.run_id, "--format", "jsonl", "--to", f"{tmp_path}/jsonl/")
    assert "rows    4, 1 of them failed" in done.stdout, done
    for form in ("csv", "parquet", "warc", "files"):
        assert handle.export(f"{tmp_path}/{form}/", format=form).rows == 4

    lines = [json.loads(line) for line in (tmp_path / "jsonl" / "shard-00001.jsonl").read_bytes().splitlines()]
    assert [(line["url"], line["status"], line["meta"]) for line in lines] == expected
    assert [line["sha256"] for line in lines] == digests
    table = csv.DictReader(io.StringIO((tmp_path / "csv" / "shard-00001.csv").read_text(), newline=""))
    assert [row["sha256"] or None for row in table] == digests
    rows = pyarrow.parquet.read_table(tmp_path / "parquet" / "shard-00001.parquet").to_pylist()
    assert [row["content"] for row in rows] == pages
    with (tmp_path / "warc" / "shard-00001.warc.gz").open("rb") as file:
        kept = [one.content_stream().read() for one in ArchiveIterator(file) if one.rec_type == "resource"]
    assert kept == [page for page in pages if page is not None]
    index = [json.loads(line) for line in (tmp_path / "files" / "shard-00001.jsonl").read_bytes().splitlines()]
    assert [line["file"] and (tmp_path / "files" / line["file"]).read_bytes() for line in index] == pages


@pytest.fixture
def large_run(pipeline):
    """Return the id of an ended run with many pages of 1 MB. A worker would need minutes to fetch them."""
    store, run_id = pipeline.app_context.store, "large"
    urls = [f"https://a.example/{n}" for n in range(PAGES)]
    store.run(CreateRun(run_id, RunSpec.from_arguments(urls)))
    part_id = PartId(run_id, 0)
    claim = store.run(ClaimPart(part_id, "token", seconds=600, states=["queued"]))
    summary = [UndetailedTaskResponse(task_id=f"t{n}", url=url, status="success") for n, url in enumerate(urls)]
    ids = [task.task_id for task in summary]
    store.run(UpdatePart(claim, {}, job=JobDetails(job_id="j", status="success", task_ids=ids, tasks=summary)))
    for n, url in enumerate(urls):
        content = f"{n:06d}" + "0123456789" * (MEGABYTE // 10)
        store.run(
            StoreContent(
                part_id, n, TaskDetails(task_id=ids[n], job_id="j", url=url, status="success", content=content)
            )
        )
    store.run(FinishPart(claim, "succeeded"))
    store.run(RecordOutcome(run_id, "succeeded", {}))
    yield run_id
    RunHandle(run_id, app_context=pipeline.app_context).forget()


@pytest.mark.long
def test_many_pages_of_a_megabyte_take_little_memory_and_a_killed_export_goes_on(pipeline, large_run, tmp_path):
    command = [sys.executable, "-c", EXPORT, large_run, str(tmp_path), "jsonl"]
    with subprocess.Popen(command, env=pipeline.environment) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "shard-00002.jsonl").exists():
            if time.monotonic() > until:
                raise TimeoutError
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "manifest.json").exists()
    first = (tmp_path / "shard-00001.jsonl").stat().st_ino
    done = subprocess.run(command, env=pipeline.environment, capture_output=True, text=True, check=True)
    rows, peak = json.loads(done.stdout)
    assert rows == PAGES
    assert (tmp_path / "shard-00001.jsonl").stat().st_ino == first
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["rows"] == PAGES
    with (tmp_path / manifest["shards"][-1]["file"]).open() as lines:
        assert [json.loads(line)["number"] for line in lines] == list(range(PAGES - 49, PAGES + 1))
    # In kilobytes. All pages would take 200,000 more. For 1,000 pages, the figure was the same: 101,000.
    assert peak < 160_000
