from fix import fix
fix("src/scrape_do_celery/testing/worker.py", "Seconds between two looks of the dispatcher and of the news, at most: nobody wants to wait for these.", "Longest sleep of the dispatcher and of the notifier, in seconds: a test must not wait for them.",
 "The news, which come soon, and are told of before anybody takes the worker for quiet.", "A notifier that announces changes soon, before a test takes the worker for idle.")
fix("src/scrape_do_celery/worker/notifier.py", '"""Telling of runs that have moved: signals for this process, Celery events for whoever monitors."""', '"""The notifier: announces changed runs, by signals in this process and by Celery events for monitors."""',
 '"""Tells of what has moved until it is stopped. Of each move, one worker tells."""', '"""Announce changed runs until stopped. Each change is announced by one worker."""',
 '"""Looks, tells, sleeps. Nothing that goes wrong in one look ends it."""', '"""Announce and sleep in turns. An error in one pass does not end the thread."""',
 "news of runs will be told later: %s", "Could not announce changed runs (%s); the next pass will retry.",
 '"""One look; whether there is more to be told."""', '"""Announce one batch. Return whether more changes wait."""',
 "# What cannot be read here is told by a worker with the key.", "# A worker with the encryption key announces a run that this worker cannot read.",
 "(stores and brokers fail in many ways; what was not told is told later)", "(stores and brokers fail in many ways)",
 "#: Seconds between two looks, and runs that are told of at a time.", "#: Seconds between two passes, and the most runs of one pass.")
fix("src/scrape_do_celery/worker/task_events.py", '"""Telling Flower, and whoever else listens to Celery\'s events, of runs that no message stands for."""', '"""Celery task events for live runs, which no message stands for: Flower and other monitors show them."""',
 '"""Whether somebody is to be told."""', '"""Whether a monitor listens."""', '"""An event for each run that goes on. One that is lost is followed by the next."""', '"""Send an event for each live run. The next change of a run makes up for a lost event."""',
 "monitors were not told of %d runs: %s", "Could not send task events of %d runs: %s")
fix("tests/unit/worker/test_task_events.py", "monitors were not told of 1 runs: OperationalError", "Could not send task events of 1 runs: OperationalError")
fix("store/news.py", '"""The operations of telling whoever shows runs that one of them has moved."""', '"""The change feed: runs that changed and were not announced yet."""',
 "#: Seconds after which a run is handed out again, where nobody said that he had told of it.", "#: Seconds after which a run is handed out again, unless its change was acknowledged.",
 '"""Runs that have moved, and the mark of this look by which they are crossed off."""', '"""Changed runs, and the receipt with which they are acknowledged."""',
 '"""So many runs that have moved and of which was not told for five seconds, or that have just ended."""', '"""Take up to `most` changed runs. A live run is announced at most every five seconds, an ended run at once."""',
 '"""Crosses runs off that a look handed out, but for those that have moved since."""', '"""Acknowledge announced runs, except those that changed again after the receipt."""')
