from fix import fix
fix("runs/enqueueing.py", "What became of each, in the order of what was wanted; messages are published for those that are not another request's.", "Return the result of each in input order. Publish for those whose id is not another request's.")
fix("runs/producer.py", "Tells a run to end (`CANCEL`, `DEADLINE`), and publishes step messages for the parts that have something to stop.", "Tell a run to end (`CANCEL`, `DEADLINE`), and publish step messages for the parts that are under way.")
fix("runs/starting.py", "#: Seconds after which the dispatcher looks whether the run that a queued one waits for has ended, if its end was missed.", "#: Seconds until the dispatcher checks whether the run that a queued one waits for has ended, if its end was missed.")
fix("runtime/process.py", "End a part; return a message for the aggregate when it was the last. `booked` is what the ledger says from now on.", "End a part; return the message for the aggregate if it was the last. `booked`: the ledger's new word.")
fix("store/watching.py", "`others` counts the pages of jobs of others.", "`others`: pages of other users' jobs.")
