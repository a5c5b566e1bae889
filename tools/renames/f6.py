from fix import ROOT, fix
fix("store/watching.py", "def use_list(keys: Keys, account", "def acquire_list_poll(keys: Keys, account")
p = ROOT / "src/scrape_do_celery/tasks/__init__.py"
s = p.read_text().replace('"sweep_jobs"', '"poll_job_list"'); p.write_text(s)
fix("store/keys.py", "| the look at all of them: who makes it, until when; what the last one took | for ever |", "| the list poll: its holder, its lease, the duration of the last one | for ever |")
