from fix import fix
fix("tests/faults/deck.py", '"twins": 3', '"equal runs": 3')
fix("tests/faults/test_mutants.py", 'deck.blank("twins")', 'deck.blank("equal runs")')
fix("tests/faults/verdict.py", "left in doubt beside a twin whose purchase was absent", "left in doubt beside an equal run whose purchase was absent",
"Whether what the run found may be a twin's, whose purchase was given up: then it must not guess.", "Return whether the found job may be an equal run's, whose purchase was given up. Then the run must not guess.",
"Nor must the one that was given up, when it is bought again and finds the twin's that was left in doubt so.", "The run that was given up must not guess either, when it is bought again and finds the job of the first.")
fix("docs/promises.md", "| trials: twins |", "| trials: equal runs |", "beside a twin whose", "beside an equal run whose", "| event: reborn |", "| event: lose_intent |")
fix("tests/unit/steps/test_second_reading.py", "def incarnation(plant)", "def epoch_key(plant)", "(plant, incarnation", "(plant, epoch_key", "set(incarnation,", "set(epoch_key,")
fix("tests/unit/steps/test_reconcile.py", '"twin:0"', '"equal:0"')
fix("tests/unit/steps/test_submit.py", '"twin:0"', '"equal:0"')
fix("runs/handle.py", "(the twin of `result`)", "(as `result`)")
fix("tasks/reconcile.py", "# The answer to a refused purchase was not lost. One that was only feared may never have been sent.", "# The answer to a refused purchase was not lost. A purchase whose intent was lost may never have been sent.",
 "What the ledger says of a purchase that was not found: nothing, where it was only feared, or was refused.", "Return the ledger's word for a purchase that was not found: void if its intent was lost or it was refused.")
fix("store/lua/write_intent.lua", "-- Writes the intent to buy down, before the `POST`.", "-- Write the intent to buy, before the `POST`.",
"{'twin', who buys the same targets now},", "{'targets_locked', part that buys them now},", "-- {'no_slot'}: other jobs run, {'weakened'}: the store has just ceased to be durable, or {'reborn'}: an intent written\n-- earlier may have been lost with the store's last writes, so the part is in doubt.",
"-- {'no_slot'}: other jobs run, {'durability_pending'}: the store has just ceased to be durable, or {'maybe_sent'}: an\n-- earlier intent may have been lost with the store's last writes, so the part is in doubt.")
fix("store/lua/common.lua", """-- Which loss of writes was the last: the server whose life began with it and when, and since when that is known. A
-- restart or a failover begins another life; nothing was lost where the life before was durable, which only that life
-- could tell: `durable` is '1' or '' where the caller knows of the present one, else nil. A server that does not tell
-- its id may have been restarted at any time.
-- The third value is false for a moment after a life has ceased to be durable: that was written down just now, and what
-- is written with it would be lost together with it.""",
"""-- Return the store epoch, when it began, and whether its durability is settled. A new epoch begins when the server
-- process changes (restart or failover), unless the previous process synced every write. Writes of an older epoch may be
-- missing. `durable` is '1' or '' if the caller knows whether the present process syncs every write, else nil. A server
-- that does not tell its id may have been restarted at any time.
-- The third value is false for `DURABILITY_DELAY` seconds after a process has ceased to be durable: that note itself is
-- written without a sync, and an intent written beside it could be lost together with it.""",
"-- `kept` is '1' while the life is durable, else since when it is not.", "-- `durable_mark` is '1' while the process is durable, else the time since when it is not.",
"-- One that has nothing to compare with may have lost just that. A server may come back to its place, so that its id\n    -- alone does not name an epoch.", "-- A store without a previous note may have lost just that. A server may come back, so its id alone names no epoch.",
"-- How a run remembers the epoch that it was made in.", "-- Return the short form of an epoch that a run keeps in its record.",
"    local lock, waiters = prefix .. ':target_lock:' .. account .. ':' .. digest, prefix .. ':target_waiters:' .. account .. ':' .. digest\n", "    local lock = prefix .. ':target_lock:' .. account .. ':' .. digest\n    local waiters = prefix .. ':target_waiters:' .. account .. ':' .. digest\n")
fix("store/lua/check_before_send.lua", "-- The last look before a `POST` leaves. KEYS: part, run  ARGV: fence.\n-- Returns the seconds left of the lease, -1 where it is lost, -2 where nobody waits for the job any more.", "-- Check fence, lease and stop request once more, just before a `POST` leaves. KEYS: part, run  ARGV: fence.\n-- Return the seconds left of the lease, -1 if the lease is lost, -2 if the run has a stop request.")
fix("tests/faults/__init__.py", "`submit_jobs: after write_intent`; `points` lists them all.", "`submit_jobs: after write_intent`; `points` lists all.")
fix("docs/promises.md", "(`submit_jobs: after write_intent`); the lab kills,\nfreezes", "(`submit_jobs: after write_intent`); the lab\nkills, freezes")
