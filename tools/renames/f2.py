from fix import ROOT, fix
fix("rules/listing.py", "A server may ignore the stop request for an order, and", "A server may ignore the requested order, and")
fix("store/keys.py", "the record of a run: request, stop requests, waiters, outcome", "the record of a run: request, stop request, waiters, outcome", "Stop requests and waiters are fields", "A stop request and waiters are fields")
fix("store/states.py", "part_outcome(job: JobDetails, stop_requested: str | None", "part_outcome(job: JobDetails, stop_reason: str | None", "and not (stop_request and", "and not (stop_reason and", "outcome_of_stop(stop_request)", "outcome_of_stop(stop_reason)", "def outcome_of_stop(stop_requested: str | None)", "def outcome_of_stop(stop_reason: str | None)", "if stop_request == DEADLINE", "if stop_reason == DEADLINE", "PartState.RUNNING and stop_request and not", "PartState.RUNNING and stop_requested and not",
 "A stop request to end (cancel or deadline) turns a running part's next look into a cancel, once.", "A stop request turns the next poll of a running part into a cancel, once.",
 'outcome: canceled on a user\'s stop request', "outcome: canceled by a stop request")
fix("runtime/process.py", "skip_unsent=stop_after_delay", "stop=stop_after_delay")
fix("runtime/budget.py", "What the store answers to a stop request, with which it gets what was counted here.", "Ask the store for a share, and give it the counts of this process.")
fix("tests/unit/worker/test_dispatcher.py", "stop_requested=stop_request", "stop_requested=stop_requested")
fix("tests/unit/store/test_claiming.py", "def test_stop_request_and_stop_are_seen", "def test_stop_request_and_skip_unsent_are_seen", "def test_a_stop_request_or_a_stop_comes_before_an_intent", "def test_a_stop_request_or_skip_unsent_comes_before_an_intent")
fix("tests/unit/store/test_states.py", "def test_ended_by", "def test_outcome_of_stop")
fix("store/ops.py", '"""Writes a stop request to end; the running parts that are to act on it now, None where the run is gone or has ended."""',
 '"""Write a stop request. Return the running parts that must act now; None if the run is gone or has ended."""',
 "One that lives for `grace` seconds after a stop request to end, and cannot be read here, is freed as well.", "One that lives for `grace` seconds after a stop request, and cannot be read here, is freed as well.")
fix("store/lua/common.lua", "-- Writes the stop request to end a live run down, the first one only, and ends what was certainly not sent, with this outcome.", "-- Write the stop request of a live run, unless it has one. End the parts that were certainly not sent with this outcome.")
fix("store/lua/request_stop.lua", "-- Writes the stop request to end a run down. KEYS: run, due  ARGV: run id, prefix, stop request, outcome of a part that was not sent", "-- Write the stop request of a run. KEYS: run, due  ARGV: run id, prefix, reason, outcome of a part that was not sent")
fix("store/lua/intent.lua", "{'stop request', which}, {'stop'}", "{'stop_reason', which}, {'skip_unsent'}")
fix("store/lua/claim_due.lua", "{member, state, stop request, canceling,", "{member, state, stop reason, cancel sent,")
fix("tasks/cancel.py", "Cancels the jobs of running parts whose run has a stop request to end.", "Cancel the jobs of running parts whose run has a stop request.")
fix("runs/producer.py", "def request_stop(self, run_id: str, what: str)", "def request_stop(self, run_id: str, reason: str)", "ops.request_stop(self.store.keys, run_id, what)", "ops.request_stop(self.store.keys, run_id, reason)")
fix("contrib/django/admin.py", '"""Stop requests that the runs end; pages that were paid for are still collected."""', '"""Request a stop of the runs; pages that were paid for are still collected."""')
for f in ("tests/unit/steps/test_poll.py", "tests/unit/store/test_claiming.py"):
    fix(f, "look().parts[0].cancel_sent_at", "look().parts[0].cancel_sent")
fix("tests/unit/store/test_records.py", '        stop_requested="cancel",', '        stop_reason="cancel",')
fix("store/keys.py", "| while live: none; then `record_ttl` |\n| `P:part:<run>", "| live: none; then `record_ttl` |\n| `P:part:<run>")
for f in ("acts", "deck", "setups"):
    p = ROOT / f"tests/faults/{f}.py"
    p.write_text(p.read_text().replace('"stop_reason"', '"request_stop"'))
