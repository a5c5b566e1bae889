"""Test that the store learns what tasks cost, forgets old costs, and reserves by the learned costs."""

from __future__ import annotations

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.prices import LearnedPrice, PriceGroup, encode_groups, reserved_price
from scrape_do_celery.store import Keys, PartId, PartState, RunSpec, scripts
from scrape_do_celery.store.commands.contents import HoldContent, StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.encryption import Encryptor
from scrape_do_celery.store.retention import LEARNED_COSTS, LEARNED_PRICES, LEARNED_SAMPLES, SCRIPT_CONSTANTS

LEARN = "learn_price('p', 'a', ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]))"
RESERVE = "return string.format('%.0f', reserve_price('p', 'a', ARGV[1]))"


def read_library():
    """Return the library of learned prices behind its own libraries and constants, as scripts have it."""
    root = scripts.resources.files(scripts.__package__) / "lua"
    constants = "".join(f"local {name} = {value}\n" for name, value in SCRIPT_CONSTANTS.items())
    return constants + scripts._read_script(root, root / "lib" / "prices.lua", set(), "")


@pytest.fixture(scope="module")
def library():
    return read_library()


@pytest.fixture(scope="module")
def redis():
    return fakeredis.FakeStrictRedis(server=fakeredis.FakeServer())


@pytest.fixture
def learn(redis, library):
    """Return a function that learns a cost under a key, at a day."""
    redis.flushall()
    return lambda key, cost, day=20_786: redis.eval(library + LEARN, 0, key, cost, day * 86_400 + 5)


def read_costs(redis, key="k"):
    return LearnedPrice.parse(redis.hget("p:prices:a", key).decode())


def test_costs_are_counted_in_order_with_the_last_day(redis, learn):
    for cost in (10_000, 1000, 1000, 2500):
        learn("k", cost)
    learn("k", 1000, day=20_787)
    assert redis.hget("p:prices:a", "k") == b"20787 1000=3 2500=1 10000=1"


@pytest.mark.parametrize(("key", "cost"), [("", 1000), ("k", 0)])
def test_nothing_is_learned_without_a_name_or_a_cost(redis, learn, key, cost):
    learn(key, cost)
    assert not redis.exists("p:prices:a")


@settings(max_examples=30, deadline=None)
@given(costs=st.lists(st.integers(1, 20).map(lambda one: one * 500), min_size=1, max_size=40))
def test_costs_stay_few_and_no_percentile_falls(redis, library, costs):
    redis.flushall()
    for cost in costs:
        redis.eval(library + LEARN, 0, "k", cost, 0)
    learned = read_costs(redis)
    assert len(learned.costs) <= LEARNED_COSTS
    assert list(learned.costs) == sorted(learned.costs)
    assert learned.samples == len(costs)
    assert learned.percentile_mc >= sorted(costs)[-(-len(costs) * 95 // 100) - 1]
    assert {cost for cost, _ in learned.costs} <= set(costs)


def test_old_costs_are_forgotten(redis, learn):
    redis.hset("p:prices:a", "k", f"1 1000={LEARNED_SAMPLES - 1} 7000=1")
    learn("k", 10_000)
    assert redis.hget("p:prices:a", "k") == b"20786 1000=99", "rare costs are forgotten first"
    redis.hset("p:prices:a", "k", "1 1000=100 2000=100")
    for _ in range(300):
        learn("k", 10_000)
    assert read_costs(redis).percentile_mc == 10_000
    assert read_costs(redis).samples <= LEARNED_SAMPLES


def test_number_of_prices_is_limited_and_old_ones_go_first(redis, learn):
    fresh = {f"fresh{n}": "20786 1=1" for n in range(LEARNED_PRICES - 700)}
    redis.hset("p:prices:a", mapping={f"old{n}": f"{n} 1=1" for n in range(700)} | fresh)
    for n in range(20):
        learn(f"new{n}", 1000)
    names = {name.decode() for name in redis.hkeys("p:prices:a")}
    assert len(names) == LEARNED_PRICES
    # Eight prices at random are all fresh with a chance of 1 to 15,000.
    assert sum(name.startswith("fresh") for name in names) >= len(fresh) - 2
    learn("new0", 2000)
    assert redis.hlen("p:prices:a") == LEARNED_PRICES, "a known price needs no room"


def test_an_error_does_not_fail_the_script(redis, learn):
    redis.set("p:prices:a", "of another type")
    learn("k", 1000)
    assert redis.get("p:prices:a") == b"of another type"


costs = st.dictionaries(st.integers(1, 300_000), st.integers(1, 199), max_size=LEARNED_COSTS)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(costs, st.integers(1, 1000), st.integers(0, 300_000)), max_size=5))
def test_both_languages_reserve_the_same(redis, library, rows):
    redis.flushall()
    groups, learned = [], {}
    for number, (known, count, price) in enumerate(rows):
        text = " ".join(["20786", *(f"{cost}={known[cost]}" for cost in sorted(known))])
        if known:
            redis.hset("p:prices:a", f"host{number}|super", text)
        groups.append(PriceGroup(f"host{number}|super", count, 0, price, None))
        learned[groups[-1].key] = LearnedPrice.parse(text)
    assert int(redis.eval(library + RESERVE, 0, encode_groups(groups))) == reserved_price(groups, learned)


def test_few_odd_costs_lock_no_host_out_of_its_budgets():
    group = PriceGroup("h", 3, 0, 1000, None)
    assert reserved_price([group], {"h": LearnedPrice(((900_000, 19),))}) == 3 * 10_000
    assert reserved_price([group], {"h": LearnedPrice(((900_000, 20),))}) == 3 * 900_000


def test_a_thousand_hosts_are_reserved(redis, library):
    redis.flushall()
    redis.hset("p:prices:a", mapping={f"h{n}": "1 3000=1" for n in range(0, 1000, 2)})
    groups = [PriceGroup(f"h{n}", 2, 0, 1000, None) for n in range(1001)]
    assert int(redis.eval(library + RESERVE, 0, encode_groups(groups))) == 500 * 2 * 3000 + 501 * 2 * 1000


# The scripts that store a task


@pytest.fixture
def collecting(store):
    store.create_run()
    store.make_running(state=PartState.FETCHING)
    store.set_fields(account="a")
    return store


def read_prices(store):
    return {key.decode(): value.decode() for key, value in store.redis.hgetall(store.keys.prices("a")).items()}


def test_a_stored_task_is_learned_once(collecting, make):
    task = make.task(0, scrape_do_metadata={"Request-Cost": "2.5"})
    for _ in range(2):
        collecting.run(StoreContent(PartId("r", 0), 0, task, "shop.example"))
    collecting.run(StoreContent(PartId("r", 0), 1, make.task(1, scrape_do_metadata={"Request-Cost": "1"}), ""))
    collecting.run(StoreContent(PartId("r", 0), 2, make.task(2), "shop.example"))
    (text,) = read_prices(collecting).values()
    assert LearnedPrice.parse(text).costs == ((2500, 1),)


def test_a_failure_that_was_charged_is_learned(collecting, make):
    task = make.task(0, status="error", content="", scrape_do_metadata={"Request-Cost": "10"})
    collecting.run(StoreContent(PartId("r", 0), 0, task, "shop.example"))
    assert LearnedPrice.parse(read_prices(collecting)["shop.example"]).costs == ((10_000, 1),)


def test_the_cost_of_a_held_page_is_learned_when_the_page_is_stored(collecting, make):
    held = make.task(0, status="error", given_up=True, scrape_do_metadata={"Request-Cost": "5"})
    collecting.run(HoldContent(PartId("r", 0), 0, held))
    assert read_prices(collecting) == {}
    gone = make.task(0, status="error", content=None, gone=True)
    collecting.run(StoreContent(PartId("r", 0), 0, gone, "shop.example"))
    assert LearnedPrice.parse(read_prices(collecting)["shop.example"]).costs == ((5000, 1),)


def test_a_claim_names_the_price_of_its_tasks(store):
    store.create_run(request={"super": True})
    claim = store.claim_part()
    assert claim.price_key("https://shop.example/other") == "shop.example|super"
    assert claim.price_key("") == ""


def test_a_claim_names_the_price_of_parameter_sets(store):
    sets = [{"asin": "B000000001", "geocode": "us", "zipcode": "10001", "super": True}] * 2
    store.run(CreateRun("r", RunSpec(JobCreationRequest(plugin={"key": "amazon/pdp", "params": sets}))))
    assert store.claim_part().price_key("any text") == "plugin/amazon/pdp|super"


def test_an_encrypted_store_shows_no_host(store):
    store.keys = Keys(store.keys.prefix, Encryptor([b"k" * 32]))
    store.create_run()
    key = store.claim_part().price_key("https://shop.example/1")
    assert "shop" not in key
    assert key == f"#{Encryptor([b'k' * 32]).digest('shop.example')}"
    assert key != f"#{Encryptor([b'l' * 32]).digest('shop.example')}"


def test_a_request_that_cannot_be_read_has_no_name(store):
    store.keys = Keys(store.keys.prefix, Encryptor([b"k" * 32]))
    store.create_run()
    claim = store.claim_part()
    object.__setattr__(claim, "spec_field", b"plain")
    assert claim.price_key("https://shop.example/1") == ""
