--[[ Write the stop request of a run.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> due time of its next step
  ARGV  run_id, prefix, reason ("cancel" or "deadline"), unsent_outcome (of a part that was not sent)

  Returns {'gone'}, {'ended'}, {'newer', the version of the record} or {'ok', number of parts left, id of each
  running part that must act now ...}.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/records
--- @include lib/stop
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, reason, unsent_outcome = unpack(ARGV)

local run = read_fields(run_key, 'parts', 'outcome')
if not run.parts then return {'gone'} end
if run.outcome then return {'ended'} end
local newer = newer_version(run_key)
if newer then return {'newer', newer} end
allow_when_full(run_key)
local left, reply = request_stop(prefix, due_key, run_id, reason, unsent_outcome, now())
-- Not by `unpack`, which fails on thousands of values.
table.insert(reply, 1, left)
table.insert(reply, 1, 'ok')
return reply
