#!/bin/sh
# Apply the families that were tried, in this order, on a clean checkout. Run at the top of the repository:
#   sh tools/renames/apply.sh PYTHON-WITH-LIBCST ../shared/tools
# Families 1, 2 and 5 are in the shared tools. 4 and 9 are drafts: read what is left, and mend it by hand.
set -e
python=$1 shared=$2
apply() {
  $python "$shared/rename.py" "$1" | grep -v '^left' || true
  for fix in $2; do PYTHONPATH=tools/renames python3 "tools/renames/$fix.py"; done
  .venv/bin/ruff check -q --fix . || true
  .venv/bin/ruff format -q .
  git add -A
  git commit -qm "$3"
}
apply "$shared/renames/1-wakeups.rules" "f1 f1b" "Call wake-ups step messages and their thread the dispatcher"
apply "$shared/renames/2-stop.rules" "f2" "Call wishes stop requests"
apply "$shared/renames/5-slots.rules" "f5" "Call the right to run a job a slot"
apply tools/renames/3a-buying-once.rules "f3a" "Name the target lock, the store epoch and the intent in standard words"
apply tools/renames/3b-submit-failure.rules "" "Name the failures of a purchase and the attempts of a call"
apply tools/renames/3c-purchases.rules "f3c" "Name purchases, their status and the states of a part in standard words"
apply tools/renames/7-changes.rules "f7" "Call the feed of changed runs and its thread by standard names"
apply tools/renames/8-requests.rules "f8" "Name the rate limiter, its counters and the decisions about errors"
apply tools/renames/6-polling.rules "f6" "Name polling and the fields of a part in standard words"
