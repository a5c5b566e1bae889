"""Test scripts: their headers, the names of their keys and arguments, their libraries and their size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

import scrape_do_celery
from scrape_do_celery.models import JobCreationRequest, JobDetails, TaskDetails
from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store import Claim, Keys, PartId, PartRecord, PartState, Retention, RunRecord, RunSpec, commands
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.commands.budgets import ReadBudgets, SetBudget, StopBuying
from scrape_do_celery.store.commands.changes import AcknowledgeChangedRuns, TakeChangedRuns
from scrape_do_celery.store.commands.contents import HoldContent, ReplaceLargeContent, StoreContent
from scrape_do_celery.store.commands.creation import (
    AcceptRun,
    AssignTick,
    CreateRun,
    DisownMessage,
    ReserveKey,
    ScheduleTick,
)
from scrape_do_celery.store.commands.deliveries import DropDeliveries, ReadDeliveryTarget, TakeDelivery
from scrape_do_celery.store.commands.dispatch import ClaimDue, ClaimNamespace, RewindTimes
from scrape_do_celery.store.commands.exports import ClaimExport, UpdateExport
from scrape_do_celery.store.commands.health import CheckHealth
from scrape_do_celery.store.commands.limits import AllocateRequests, CloseBreaker, OpenBreaker, PauseAPI
from scrape_do_celery.store.commands.listing import ListRuns, RunPosition
from scrape_do_celery.store.commands.ownership import (
    NoteUnowned,
    ReadJobOwnership,
    ReadUnresolvedPurchases,
    ScanConflictingParts,
    ScanUnresolvedParts,
)
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, RenewLease, UpdatePart
from scrape_do_celery.store.commands.polling import (
    AcquireListPoll,
    FindUnattendedAccounts,
    FinishListPoll,
    MarkStillRunning,
    MoveSomeToDue,
    PlanPolling,
)
from scrape_do_celery.store.commands.prices import AccountFigures, NoteAccountFigures
from scrape_do_celery.store.commands.purchases import (
    CheckBeforeSend,
    NoteRejected,
    RejectedPurchase,
    TakeRejected,
    WriteIntent,
)
from scrape_do_celery.store.commands.rights import CALLS, CheckRights
from scrape_do_celery.store.commands.runs import (
    AcknowledgeDelivery,
    ClaimOnce,
    CountDecisionAttempt,
    ForgetRun,
    ReadLineage,
    ReadRun,
    ReadRunWait,
    RecordOutcome,
    RequestStop,
)
from scrape_do_celery.store.commands.schedules import PauseSchedule, ReadSchedules
from scrape_do_celery.store.commands.stats import CountLiveRuns, ReadClock, ReadStats
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks, TrustWebhooks
from scrape_do_celery.store.declared_keys import declared_keys
from scrape_do_celery.store.fields import OTHER_PART_FIELDS, OTHER_RUN_FIELDS, declared_fields
from scrape_do_celery.store.retention import SCRIPT_CONSTANTS
from scrape_do_celery.store.scripts import load_scripts

LUA = Path(scrape_do_celery.__file__).parent / "store" / "lua"
SCRIPTS = sorted(path.stem for path in LUA.glob("*.lua"))
LIBRARIES = sorted(path.stem for path in (LUA / "lib").glob("*.lua"))
LONGEST_LINE = 110
#: The names of declared fields.
DECLARED = {
    "part": [one.name for one in (*declared_fields(PartRecord), *OTHER_PART_FIELDS)],
    "run": [one.name for one in (*declared_fields(RunRecord), *OTHER_RUN_FIELDS)],
}
#: The names of the keys that a method of `Keys` makes, by the name of the method.
KEYS = {one.name: re.compile(re.sub(r"<[^>]+>", "[^:]*", f"p{one.pattern[1:]}")) for one in declared_keys()}
#: Bytes of all scripts together. The server keeps scripts for good.
MAX_BYTES = 305_000

_HEADER = re.compile(r"\A--\[\[ (?P<summary>.+?)\n\]\]\n", re.DOTALL)
_KEY = re.compile(r"(\w+(?:\.\.\.)?)\s+(hash|zset|set|string|list|any)\b")
_DEFINITION = re.compile(r"^local (?:function )?([a-z]\w*)", re.MULTILINE)


@dataclass(frozen=True)
class Header:
    """The keys and arguments of a script. A name with `...` stands for any number of them."""

    keys: list[str]
    arguments: list[str]


def read_header(text: str) -> Header:
    """Return the header of a script."""
    found = _HEADER.match(text)
    assert found, "a script begins with a block comment"
    assert "Returns" in found["summary"], "the header says what the script returns"
    section, keys, arguments = "", [], ""
    for line in found["summary"].splitlines()[1:]:
        if match := re.match(r"  (KEYS|ARGV)  +(.*)", line):
            section, rest = match[1], match[2]
        elif line.startswith("        ") and section:
            rest = line.strip()
        else:
            section = ""
            continue
        if section == "KEYS":
            key = _KEY.match(rest)
            if key:
                keys.append(key[1])
        else:
            arguments += " " + rest
    bare = re.sub(r"\([^)]*\)", "", arguments)
    return Header(keys, [name.strip() for name in bare.split(",") if name.strip()])


def read_code(text: str) -> str:
    """Return a script without its header, its includes and its comments."""
    return re.sub(r"--[^\n]*", "", _HEADER.sub("", text)).strip()


@pytest.mark.parametrize("name", SCRIPTS)
def test_first_lines_name_each_key_and_argument(name):
    text = (LUA / f"{name}.lua").read_text()
    header, code = read_header(text), read_code(text)
    fixed = [key for key in header.keys if not key.endswith("...")]
    if fixed:
        names = r",\s+".join(f"{key}_key" for key in fixed)
        values = r",\s+".join(rf"KEYS\[{number}\]" for number in range(1, len(fixed) + 1))
        assert re.search(rf"local {names} =\s+{values}", code), f"local {', '.join(fixed)}, each with _key"
    named = [argument for argument in header.arguments if not argument.endswith("...")]
    if named:
        names = r",\s*".join(named)
        # A script with many arguments must not unpack them all: Lua's stack is limited.
        values = rf"(unpack\(ARGV(, 1, {len(named)})?\)|ARGV\[1\])"
        assert re.search(rf"local {names} = {values}", code), f"local {', '.join(named)}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_argument_is_read_by_number(name):
    code = read_code((LUA / f"{name}.lua").read_text())
    body = re.sub(r"local [\w,\s]+ =\s+(KEYS\[\d+\](,\s+KEYS\[\d+\])*|ARGV\[1\]\n|unpack\(ARGV\))", "", code)
    assert not re.findall(r"(?:ARGV|KEYS)\[\d+\]", body)


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"lib/{library}" for library in LIBRARIES)])
def test_lines_are_short_and_durations_have_names(name):
    text = (LUA / f"{name}.lua").read_text()
    assert [line for line in text.splitlines() if len(line) > LONGEST_LINE] == []
    assert re.findall(r"\b\d{4,}\b", read_code(text)) == [], "a duration is a constant of store/retention.py"


@pytest.mark.parametrize("name", [*SCRIPTS, *(f"lib/{library}" for library in LIBRARIES)])
def test_includes_are_the_libraries_that_are_used(name):
    text = (LUA / f"{name}.lua").read_text()
    homes = {
        function: library
        for library in LIBRARIES
        for function in _DEFINITION.findall(re.sub(r"(?m)^ +.*", "", (LUA / "lib" / f"{library}.lua").read_text()))
    }
    code = re.sub(r"'[^'\n]*'", "", read_code(text))
    used = {homes[word] for word in re.findall(r"(?<![\w.:])([a-z]\w*)\(", code) if word in homes}
    own = {name.removeprefix("lib/")} if name.startswith("lib/") else set()
    assert re.findall(r"^--- @include lib/(\w+)$", text, re.MULTILINE) == sorted(used - own)


@pytest.mark.parametrize("kind", ["part", "run"])
def test_fields_that_scripts_read_are_declared(kind):
    declared = DECLARED[kind]
    text = " ".join(read_code(path.read_text()) for path in LUA.rglob("*.lua"))
    key = rf"(?:{kind}_key|make_{kind}_key\([^)]*\)|prefix \.\. ':{kind}:' \.\. \w+)"
    lists = re.findall(rf"read_fields\({key},\s*((?:'\w+',?\s*)+)\)", text)
    names = {name for found in lists for name in re.findall(r"\w+", found)}
    names |= set(re.findall(rf"'H(?:GET|EXISTS|SETNX|INCRBY|INCRBYFLOAT|SET)', {key}, '(\w+:?)'", text))
    assert len(names) > 15
    assert {name for name in names if not any(one.startswith(name) for one in declared)} == set()


def test_fields_have_one_declaration():
    for names in DECLARED.values():
        assert len(names) == len(set(names))


def test_keys_that_scripts_make_are_declared():
    """A script makes a key of its kind and of as many further arguments as the key has placeholders."""
    text = "\n".join(read_code(path.read_text()) for path in sorted(LUA.rglob("*.lua")))
    made = re.findall(r"make_key\(prefix, '(\w+)'((?:, [^,()]+(?:\([^()]*\))?)*)\)", text)
    assert len(made) == text.count("make_key(") - 1 > 40, "each call names the kind of its key"
    patterns = {one.name: one.pattern for one in declared_keys()}
    for kind, rest in made:
        assert patterns[kind].startswith(f"P:{kind}"), kind
        # The id of a part is the id of its run and a number.
        arguments = ["", *(["", ""] if one.strip() == "part_id" else [""] for one in rest.split(",")[1:])]
        assert patterns[kind].count("<") == sum(map(len, arguments)), f"{kind}{rest}"


def test_no_script_makes_a_key_by_itself():
    for path in LUA.rglob("*.lua"):
        text = read_code(path.read_text())
        assert not re.findall(r"prefix \.\.|_key \.\. ':\w|'%s:", text), path.name


def test_scripts_are_small():
    assert sum(map(len, load_scripts().values())) < MAX_BYTES


def test_constants_stand_before_the_scripts_that_name_them():
    texts = load_scripts()
    for name, value in SCRIPT_CONSTANTS.items():
        users = [text for text in texts.values() if re.search(rf"\b{name}\b", text)]
        assert users, f"{name} is used by no script"
        assert all(text.index(f"local {name} = {value}\n") < text.rindex(name) for text in users)


def make_sample_commands():
    """Return a command of each class with a script, with all optional parts, so that each key exists."""
    run, part, account = "r", PartId("r", 0), "a"
    targets = ["https://example.com/1", "https://example.com/2"]
    digests, spec = PartDigests.from_targets(targets), RunSpec(JobCreationRequest(targets=targets), max_wait=60)
    job = JobDetails(job_id="j", status="queuing")
    page = TaskDetails(task_id="t", job_id="j", status="success", content="x")
    record = PartRecord(PartState.QUEUED, fence=1, total=2)
    claim = Claim(part, now=0.0, part=record, late=0.0, spec_field=b"", targets_field=b"")
    tick, intervals = ScheduleTick("s", "1", "wait"), [2.0, 5.0]
    return [
        AcceptRun(run, "w", "{}"),
        AcknowledgeChangedRuns("1.0000", [run]),
        AcknowledgeDelivery(run, "w", Retention(contents=1, record=1, idempotency=1)),
        AcquireListPoll(account, "token", 30.0),
        AllocateRequests("process", 2, 1, limit=10, rate=5.0, counted={"requests": 1.0}),
        AssignTick("message", "1"),
        CheckBeforeSend(claim),
        ClaimDue(limit=1, cap=1),
        ClaimNamespace("app"),
        ClaimOnce(run, "callback", 60),
        ClaimExport(run, "token", 30.0),
        ClaimPart(part, "token", seconds=30.0, states=list(PartState)),
        ReadClock(),
        CheckHealth(account, writes=True),
        CheckRights(),
        CloseBreaker(account),
        CountLiveRuns(),
        CountDecisionAttempt(run),
        CreateRun(run, spec, key="k", start_delay=1.0, expires=60.0, tick=tick),
        DisownMessage("message"),
        DistrustWebhooks(account, "why"),
        TrustWebhooks(account),
        DropDeliveries(part, hints=[0]),
        FindUnattendedAccounts(account, 60.0),
        FinishListPoll(account, "token", others=0.0, redispatch_after=5.0),
        FinishPart(claim, "succeeded"),
        ForgetRun(run),
        HoldContent(part, 0, page),
        ListRuns(10, state="live", label="b", tag="c", since=1.0, before=2.0, position=RunPosition("1.5", run)),
        MarkStillRunning(account, "queuing", [part], intervals),
        MoveSomeToDue(account, "token"),
        NoteAccountFigures(account, AccountFigures(5, 100.0, 1.0)),
        NoteRejected(account, RejectedPurchase.of(part, 1.0, digests), 60.0),
        NoteUnowned(account, ["j"]),
        OpenBreaker(account),
        PauseAPI(60.0),
        PauseSchedule("s", is_paused=True),
        PlanPolling(account, 30.0),
        ReadBudgets(),
        ReadDeliveryTarget(part),
        ReadLineage(run),
        ReadJobOwnership(account, "j", digests.coarse[0]),
        ReadRun(run),
        ReadRunWait(run, "a"),
        ReadSchedules(),
        ReadStats(account, [60.0]),
        ReadUnresolvedPurchases(claim, account, digests, 0),
        RecordOutcome(run, "succeeded", {"done": 2}),
        RenewLease(claim, 30.0),
        ReplaceLargeContent(part, 0, page),
        RequestStop(run, "cancel"),
        RewindTimes(),
        SetBudget("tag:a", "day", 1000),
        StopBuying("tag:a", is_stopped=True),
        ReserveKey("k", run, spec.digest),
        ScanConflictingParts(claim, digests),
        ScanUnresolvedParts(),
        StoreContent(part, 0, page),
        TakeChangedRuns(10),
        TakeDelivery(part, 1, None, "j", "t"),
        TakeRejected(account),
        UpdateExport(run, "token", ExportState.DONE, {"rows": 1}),
        UpdatePart(claim, {}, to="running", after=0.0, job=job, owner="j"),
        WriteIntent(claim, "nonce", 30.0, account=account, digests=digests),
    ]


SAMPLE_KEYS = Keys("p")
SAMPLES = make_sample_commands()


def test_each_script_has_a_sample_command():
    assert {command.script for command in SAMPLES} == set(SCRIPTS)
    # A class with slots is made twice, so only names can be compared.
    classes = [cls for cls in Command.__subclasses__() if cls.__module__.startswith(f"{commands.__name__}.")]
    assert {type(command).__name__ for command in SAMPLES} == {cls.__name__ for cls in classes if cls.script}


def test_commands_are_frozen_and_have_slots():
    for command in SAMPLES:
        assert command.__dataclass_params__.frozen
        assert not hasattr(command, "__dict__")


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_pass_the_keys_and_arguments_of_the_header(name):
    header = read_header((LUA / f"{name}.lua").read_text())
    for command in SAMPLES:
        if command.script == name:
            encoded = command.encode(SAMPLE_KEYS)
            assert has_as_many(encoded.keys, header.keys), f"the script takes {header.keys}"
            assert has_as_many(encoded.args, header.arguments), f"the script takes {header.arguments}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_commands_pass_the_keys_in_the_order_of_the_header(name):
    header = read_header((LUA / f"{name}.lua").read_text())
    for command in SAMPLES:
        if command.script == name:
            for key, name_of_key in zip(command.encode(SAMPLE_KEYS).keys, header.keys, strict=False):
                if name_of_key in KEYS:
                    assert KEYS[name_of_key].fullmatch(key)


def make_bare_commands():
    """Return commands without their optional parts, which name fewer keys."""
    spec = RunSpec(JobCreationRequest(targets=["https://example.com/"]))
    claim = Claim(PartId("r", 0), 0.0, PartRecord(PartState.QUEUED, fence=1, total=1), 0.0, b"", b"")
    tick = ScheduleTick("s", "1", "skip")
    return [CreateRun("r", spec), CreateRun("r", spec, tick=tick), CreateRun("r", spec, key="k"), UpdatePart(claim, {})]


@pytest.mark.parametrize("command", [*SAMPLES, *make_bare_commands()], ids=lambda command: type(command).__name__)
def test_commands_name_only_keys_under_the_prefix(command):
    """Name no key that a user with the rights of one prefix may not touch. An empty name is such a key."""
    assert [key for key in command.encode(SAMPLE_KEYS).keys if not key.startswith("p:")] == []


def test_rights_to_each_command_of_a_script_are_checked():
    text = "\n".join(read_code(path.read_text()) for path in LUA.rglob("*.lua"))
    used = set(re.findall(r"redis\.p?call\('([A-Z]+)'", text))
    # A store works without INFO. `doctor` checks that right by itself.
    assert used - {"INFO"} <= {call.split()[0] for call in CALLS}


def has_as_many(given, names):
    """Return whether each name has a value. A name with `...` takes any number of values."""
    fixed = [name for name in names if not name.endswith("...")]
    return len(given) >= len(fixed) if len(fixed) < len(names) else len(given) == len(fixed)
