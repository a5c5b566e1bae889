"""Test the inputs of a run: `meta` and duplicates in specs, digests, conflicts and records."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery import RefusedValueError, ResultExpiredError, Target
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import Keys, PartId, Retention, RunSpec
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ReadPartInputs, ReadPartSpec
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadRun, ReadSpec, RecordOutcome
from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX, Encryptor
from scrape_do_celery.store.inputs import RunInputs

A, B, C = (f"https://{name}.example/" for name in "abc")
PARAMS = [{"q": "x", "start": 1}, {"start": 1, "q": "x"}, {"q": "x", "start": 2}]


def make(*targets, **options):
    return RunSpec.from_arguments(list(targets), **options)


def stored_spec(store, spec):
    store.run(CreateRun("r", spec))
    return store.run(ReadSpec("r", len(spec.parts())))


def test_run_without_meta_and_duplicates_has_no_field(store):
    store.run(CreateRun("r", make(A, Target(B), A)))
    assert not [name for name in store.run_fields() if "inputs" in name]
    assert store.run(ReadPartInputs(PartId("r", 0))).inputs is None


def test_meta_is_beside_the_request(store):
    spec = make(Target(A, {"sku": "A"}), B)
    again = stored_spec(store, spec)
    assert again == spec
    assert spec.request.targets == [A, B]
    assert "sku" not in spec.request.canonical()
    assert "sku" not in str(unpack(spec.packed()[0])) + str(spec.request_summary()) + repr(spec)


def test_steps_and_status_do_not_read_meta(store):
    store.run(CreateRun("r", make(Target(A, {"sku": "secret-sku"}))))
    record = store.run(ReadRun("r"))
    assert "secret-sku" not in repr(record)
    assert store.run(ReadPartSpec(PartId("r", 0))).inputs is None
    claim = store.claim_part()
    assert claim.spec().inputs is None
    assert claim.targets() == [A]


def test_equal_targets_are_bought_once():
    spec = make(A, B, Target(A, 1), C, B, dedupe=True)
    assert spec.request.targets == [A, B, C]
    assert spec.inputs.sources == (0, 1, 0, 2, 1)
    assert spec.inputs.expand(spec.request.targets) == [A, B, A, C, B]
    assert spec.request.estimated_credits() == 3


@pytest.mark.parametrize("other", ["https://a.example", "https://A.example/", f"{A}#top", f"{A}?", f"{A}%61"])
def test_other_spellings_are_bought_apart(other):
    # A server may get both spellings, and answer differently.
    assert make(A, other, dedupe=True).request.targets == [A, other]


def test_equal_parameter_sets_are_bought_once(store):
    spec = RunSpec.from_arguments(plugin={"key": "google/search", "params": PARAMS}, dedupe=True)
    assert spec.request.plugin.params == [PARAMS[0], PARAMS[2]]
    assert spec.inputs.sources == (0, 0, 1)
    assert stored_spec(store, spec) == spec
    assert spec.given_inputs()["plugin"]["params"] == [PARAMS[0], PARAMS[0], PARAMS[2]]


def test_early_counts_purchases():
    assert not make(*[A] * 60, dedupe=True).early
    assert make(*[A] * 60).early


def test_digest_without_the_options_stays():
    assert make(Target("https://a.example/"), geo_code="us", dedupe=False).digest == "a4dc2473497507dd786f71488340d517"


def test_digests_tell_inputs_apart():
    specs = [
        make(A, A),
        make(A),
        make(A, A, dedupe=True),
        make(A, dedupe=True),
        make(A, A, A, dedupe=True),
        make(A, Target(A, 1)),
        make(Target(A, 1), A),
        make(Target(A, 1), A, dedupe=True),
        make(Target(A, [1]), A),
    ]
    assert len({spec.digest for spec in specs}) == len(specs)


def test_digest_does_not_know_the_order_of_keys():
    assert make(Target(A, {"a": 1, "b": 2})).digest == make(Target(A, {"b": 2, "a": 1})).digest


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        (make(Target(A, 1)), make(Target(A, 2)), ("meta",)),
        (make(Target(A, 1)), make(A), ("meta",)),
        (make(A, A), make(A, A, dedupe=True), ("dedupe",)),
        (make(A, A, dedupe=True), make(A, B, dedupe=True), ("targets",)),
        (make(Target(A, 1)), make(Target(B, 1)), ("targets",)),
        (make(Target(A, 1), max_wait=9), make(Target(B, 2)), ("targets", "meta", "max_wait")),
    ],
)
def test_differences_are_named(one, other, names):
    assert one.differing_fields(other) == names
    assert other.differing_fields(one) == names
    assert one.differing_fields(one) == ()


def test_parts_end_before_the_first_target_of_the_next(store):
    targets = [f"https://a.example/{n}" for n in range(2_001)]
    inputs = [*targets[:1_000], targets[0], targets[999], *targets[1_000:2_000], targets[5], targets[2_000], targets[1]]
    spec = make(*(Target(url, n) for n, url in enumerate(inputs)), dedupe=True)
    assert stored_spec(store, spec) == spec
    read = [store.run(ReadPartInputs(PartId("r", n))).inputs for n in range(3)]
    assert [one.sources[0] for one in read] == [0, 1_000, 2_000]
    assert read[0].sources[-2:] == (0, 999)
    assert read[1].sources[-1] == 5
    assert read[2].sources == (2_000, 1)
    assert read[2].metas == ("2003", "2004")


@given(
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=30),
    st.data(),
    st.booleans(),
    st.sampled_from([1, 2, 3, 1000]),
)
def test_record_gives_back_each_input(names, data, dedupe, size):
    meta = st.none() | st.integers() | st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2)
    inputs = [Target(f"https://{name}.example/", data.draw(meta)) for name in names]
    spec = make(*inputs, dedupe=dedupe).split_by(size)
    options, targets = spec.packed()
    packed = spec.packed_inputs()
    again = RunSpec.unpacked(options, targets, packed)
    # A reader of the record splits the run as its writer did.
    assert again.packed() == (options, targets)
    assert (again, again.digest) == (spec, spec.digest)
    given_targets = spec.given_inputs()["targets"]
    assert make(*given_targets, dedupe=dedupe) == spec
    assert len(given_targets) == len(inputs)
    assert len(packed) == (0 if spec.inputs is None else len(targets))


def test_inputs_of_chosen_targets():
    spec = make(Target(A, 1), Target(B, 2), Target(A, 3), C, dedupe=True, max_wait=9)
    again = spec.select_targets([0, 2])
    assert again.digest == make(Target(A, 1), Target(A, 3), C, dedupe=True, max_wait=9).digest
    assert make(A, B).select_targets([1]).digest == make(B).digest
    assert make(A, B).select_targets([1], max_wait=9).digest == make(B, max_wait=9).digest


@pytest.mark.parametrize("dedupe", [False, True])
def test_positions_of_a_child_are_those_in_the_first_run(make_store, dedupe):
    spec = make(A, B, Target(A, 3), C, B, dedupe=dedupe)
    child = spec.select_targets([1, 2] if dedupe else [1, 3, 4])
    assert child.inputs.positions == (1, 3, 4)
    assert stored_spec(make_store(Keys("p")), child) == child
    assert child.select_targets([1]).inputs.positions == (3,)
    assert child.select_targets([0], dedupe=True).inputs.positions == ((1, 4) if dedupe else (1,))


def test_lost_positions_are_noticed(make_store):
    store = make_store(Keys("p"))
    stored_spec(store, make(A, B, C).select_targets([0, 2]))
    store.redis.hset(store.keys.run("r"), "targets:0:inputs", pack({"at": [0]}))
    with pytest.raises(ResultExpiredError, match="lost or damaged"):
        store.run(ReadSpec("r", 1))


def test_meta_is_encrypted_for_its_field(make_store):
    keys = Keys("p", Encryptor([hashlib.sha256(b"k").digest()]))
    store = make_store(keys)
    spec = make(Target(A, {"sku": "secret-sku"}), A)
    assert stored_spec(store, spec) == spec
    fields = store.redis.hgetall(keys.run("r"))
    assert fields[b"targets:0:inputs"].startswith(ENCRYPTED_PREFIX)
    assert b"secret-sku" not in b"".join(fields.values())
    # A value that was moved to another field is refused.
    store.redis.hset(keys.run("r"), "targets:0", fields[b"targets:0:inputs"])
    with pytest.raises(RefusedValueError, match="targets:0 does not match its encryption"):
        store.run(ReadSpec("r", 1))


def test_names_of_fields_are_left_out_by_older_scripts(store):
    # An older `read_run.lua` leaves out the fields that begin with `targets:`. Else each status would read all `meta`.
    store.run(CreateRun("r", make(Target(A, 1))))
    assert "targets:0:inputs" in store.run_fields()


def test_repr_shows_no_value():
    assert repr(RunInputs()) == "RunInputs()"
    assert repr(make(Target(A, "secret"), A, dedupe=True).inputs) == "RunInputs(2 inputs, meta=***)"


def test_request_of_a_caller_is_deduped():
    spec = RunSpec.from_arguments(JobCreationRequest(targets=[A, A]), dedupe=True)
    assert spec.request.targets == [A]


def test_forgotten_run_keeps_no_meta(store):
    store.run(CreateRun("r", make(Target(A, "secret"))))
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    store.run(AcknowledgeDelivery("r", "r", Retention(1, 2, 3)))
    store.run(ForgetRun("r"))
    assert set(store.run_fields()) == {"forgotten"}


READERS = {"part": ReadPartInputs(PartId("r", 0)), "run": ReadSpec("r", 1)}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("lost", ["targets:0", "targets:0:inputs"])
def test_lost_field_is_told(store, read, lost):
    store.run(CreateRun("r", make(Target(A, 1))))
    store.redis.hdel(store.keys.run("r"), lost)
    with pytest.raises(ResultExpiredError, match=f"run r: the field {lost} of the key .* is lost or damaged") as caught:
        store.run(read)
    assert caught.value.run_id == "r"


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "changed",
    [RunInputs(metas=("1",)), RunInputs(metas=("1", "2", "3")), RunInputs(sources=(0, 1, 0), metas=("1", "2"))],
    ids=["fewer", "more", "other duplicates"],
)
def test_data_of_another_number_of_inputs_is_told(store, read, changed):
    store.run(CreateRun("r", make(Target(A, 1), Target(B, 2))))
    size = 3 if changed.metas == ("1", "2", "3") else 2 if changed.sources else 1
    store.redis.hset(store.keys.run("r"), "targets:0:inputs", changed.packed(size, 1000)[0])
    with pytest.raises(ResultExpiredError, match="lost or damaged"):
        store.run(read)


def test_inputs_that_are_missing_in_the_whole_run_are_told(store):
    store.run(CreateRun("r", make(A, B, A, dedupe=True)))
    store.redis.hset(store.keys.run("r"), "targets:0:inputs", RunInputs((0, 1), None, True).packed(2, 1000)[0])
    with pytest.raises(ResultExpiredError, match="lost or damaged"):
        store.run(ReadSpec("r", 1))


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_record_without_the_number_of_inputs_is_read(store, read):
    """The error names these fields. A reader without them sees a run without `meta` and duplicates."""
    store.run(CreateRun("r", make(Target(A, 1), A, dedupe=True)))
    store.redis.hdel(store.keys.run("r"), "inputs")
    assert store.run(read).inputs.metas == ("1", None)
    store.redis.hdel(store.keys.run("r"), "targets:0:inputs")
    assert store.run(read).inputs is None


def test_spec_of_a_run_without_its_targets_is_no_smaller_spec(store):
    store.run(CreateRun("r", make(*(f"{A}{n}" for n in range(1001)))))
    store.redis.hdel(store.keys.run("r"), "targets:0")
    with pytest.raises(ResultExpiredError, match="the field targets:0 "):
        store.run(ReadSpec("r", 2))
    assert store.run(ReadPartInputs(PartId("r", 0))) is None
    assert store.run(ReadPartInputs(PartId("r", 1))).request.size == 1
