from fix import fix
fix("runs/producer.py",
 '"""What a process needs to write runs down and publish a step message for a worker: settings, the store, a Celery app."""',
 '"""What a process needs to write runs down and to publish step messages: settings, the store, a Celery app."""',
 'Tells a run to end (`CANCEL`, `DEADLINE`), and publishes a step message for the parts that have something to stop.',
 'Tells a run to end (`CANCEL`, `DEADLINE`), and publishes step messages for the parts that have something to stop.',
 '"""Publishes, as few messages as may be: up to `BATCH` members each."""',
 '"""Publish as few messages as possible: each names up to `BATCH` parts."""')
fix("runs/reporting.py",
 '''    `again`: it was published before; ids whose result Celery has by now are only noted, those that something follows at the
    second time.''',
 '''    `again`: it was published before; ids whose result Celery has by now are only noted, those that something follows
    at the second time.''',
 'no step message to finish %s: %s; a dispatcher publishes again', 'Could not publish the outcome of run %s (%s); the dispatcher will retry.')
fix("tests/unit/runs/test_reporting.py", 'no step message to finish r', 'Could not publish the outcome of run r')
fix("runs/starting.py", 'Seconds after which a dispatcher looks whether the run that a queued one waits for has ended: should its end be missed.',
 'Seconds after which the dispatcher looks whether the run that a queued one waits for has ended, if its end was missed.')
fix("runs/enqueueing.py", 'it is dispatched those that', 'messages are published for those that')
fix("runtime/collecting.py", '''#: Seconds that the step message of the next turn has before the dispatcher publishes another: in a backlog it waits for long, and each
#: turn that is published twice would go on as two.''',
'''#: Seconds until the dispatcher publishes a second step message for the next turn. In a backlog a message waits for
#: long, and a turn that is published twice would go on as two.''')
fix("runtime/process.py", 'Ends a part; a step message for the aggregate when it was the last. `booked` is what the ledger says from now on.',
 'End a part; return a message for the aggregate when it was the last. `booked` is what the ledger says from now on.')
fix("store/keys.py", 'how many times longer than in quiet times step messages lie in the queue, and since when', 'how many times longer than usual step messages lie in the queue, and since when')
fix("store/ops.py", '''    Where that is at once, the caller publishes a step message for it; the dispatcher does so only when that step message stays unheard for `redispatch_after`
    seconds.''', '''    If that is at once, the caller publishes a step message. The dispatcher publishes another one only if no step has
    taken the part after `redispatch_after` seconds.''')
fix("store/watching.py", "When the running jobs of an account are worth a look, by the store's clock; whether to publish a step message for a sweep.",
 "When the running jobs of an account are worth a look, by the store's clock; whether a sweep is due.",
 "Should it not, the dispatcher does, `redispatch_after` seconds later. `others` are the pages that jobs of others took.",
 "If the caller dies, the dispatcher publishes `redispatch_after` seconds later. `others` counts the pages of jobs of others.")
fix("tests/faults/times.py", "#: Step messages that are lost are published again by the dispatcher so soon, in seconds, growing to the second; 5 and 300 in production.",
 "#: Seconds until the dispatcher publishes a lost step message again, at first and at most; 5 and 300 in production.")
fix("tests/unit/steps/test_isolation.py", "from scrape_do_celery.worker.dispatcher import messages\n", "from scrape_do_celery.worker.dispatcher import messages_for\n",
 "messages = [message.ids for message in messages(plant.look().parts)]", "messages = [message.ids for message in messages_for(plant.look().parts)]")
fix("tests/unit/steps/test_third_reading.py", "after a dispatcher's look, and the sweep that it publishes a step message for.", "after a dispatcher's look, and those of the sweep that it publishes.")
fix("tests/unit/steps/test_sweep.py", "left_to_the_tickers", "left_to_the_dispatchers", "whom it publishes a step message for.", "whom it publishes messages for.")
fix("tests/unit/store/test_claiming.py", "So many step messages of the dispatcher that nobody heard in time; what was published before is due again for long.",
 "Many step messages of the dispatcher that no step took in time; what was published before is long due again.")
fix("tests/unit/worker/test_dispatcher.py", "WholeTicker", "WholeDispatcher")
fix("tests/wire/ground.py", "_QuietTicker", "_QuietDispatcher")
fix("benchmarks/case_b.py", "_BELLS", "_MESSAGE_BYTES")
fix("sandbox/agenda.py", "self._message", "self._wakeup")
fix("tests/unit/steps/test_recognition.py", "Dispatcher(rejected.producer).tick()", "Dispatcher(rejected.producer).dispatch_due()")
fix("tests/integration/test_embedded.py", '"bell"', '"message"') if False else None
fix("store/lua/claim_due.lua", "-- Whether a member is left to the step message that a step rang for it at `since`, for as long as step messages lie longer than usual.",
 "-- Return whether a step published a message for the member at `since`, and messages lie in the queue for longer than usual.",
 "-- Where work is backed up, step messages lie in the queue for longer than the first interval. Published again they would only make it",
 "-- Where work is backed up, messages lie in the queue for longer than the first interval. Published again they would only make it",
 "due, published, life, backlog", "due, dispatched, life, queue_delay", "attempts, publishes}", "attempts, dispatches}", "accepted, publishes}", "accepted, dispatches}")
for f in ("store/lua/claim.lua","store/lua/standing.lua"):
    fix(f, "due, published,", "due, dispatched,")
fix("store/lua/common.lua", '''-- Marks a member to be looked at: the nominal time in its record, and a step message by the dispatcher `redispatch_after` seconds later at the
-- latest, which leaves the caller that long to publish by itself.''',
'''-- Mark a member to be looked at. Its record gets the nominal time. The dispatcher publishes a message `redispatch_after`
-- seconds later at the latest, which leaves the caller that long to publish by itself.''',
'''-- Hands running jobs whose time has come over, to be looked at each by itself; the caller has `redispatch_after` seconds to publish a step message for''',
'''-- Hands running jobs whose time has come over, to be looked at each by itself; the caller has `redispatch_after` seconds to publish for''')
fix("store/lua/look.lua", "pages beside those, ring, most to hand over", "pages beside those, redispatch delay, most to hand over")
fix("store/lua/update.lua", "seconds that the caller has to ring by", "seconds that the caller has to publish by")
fix("tests/faults/acts.py", "nobody had reason to ring", "nobody had reason to publish")
fix("tests/unit/steps/test_frame.py", "claim, hold, do, ring;", "claim, hold, do, publish;")
fix("runs/enqueueing.py", '"""`enqueue`: writes a run down, and publishes."""', '"""`enqueue`: write a run down, and publish its first step messages."""')
fix("config/celery.py", "# A message is a step message: few at a time", "# A message is only a wake-up: few at a time")
fix("docs/promises.md", "what is due is dispatched again by any worker's dispatcher", "what is due is dispatched again by any worker")
fix("README.md", "Messages that may wait in the broker at a time.", "Parts that may have a step message in the broker at a time.")
fix("config/fields.py", '"Messages that may wait in the broker at a time."', '"Parts that may have a step message in the broker at a time."')
fix("metrics/catalogue.py", '"Messages that are on their way to a worker."', '"Parts whose step message is on its way to a worker."')
fix("docs/metrics.md", "Messages that are on their way to a worker.", "Parts whose step message is on its way to a worker.")
fix("src/scrape_do_celery/worker/dispatcher.py", '"""Claims what is due and publishes a step message for it, until it is stopped."""', '"""Claim what is due and publish its step messages until stopped."""')
