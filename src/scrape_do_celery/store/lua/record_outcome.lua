--[[ Write the outcome of a run, once.

  KEYS  run  hash  the record of the run
        due  zset  run id and ":run" -> due time of its next step
  ARGV  run_id, redispatch_after (seconds), prefix,
        key_name (name of the key that values are encrypted with; "" for none), outcome,
        fields... (name and value in turn)

  Returns the outcome that stands. Returns '' when the run is gone, or when a part of it goes on: the store
  lost its last writes after the parts were seen to have ended.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/encryption
--- @include lib/index
--- @include lib/memory
--- @include lib/records
--- @include lib/schedules
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, redispatch_after, prefix, key_name, outcome = unpack(ARGV)
local first_field = 6

local run = read_fields(run_key, 'outcome', 'parts', 'left')
if run.outcome then return run.outcome end
if not run.parts or run.left ~= '0' then return '' end
allow_when_full(run_key)
local t = now()
redis.call('HDEL', run_key, 'result', 'error')
redis.call('HSET', run_key, 'outcome', outcome)
for i = first_field, #ARGV - 1, 2 do redis.call('HSET', run_key, ARGV[i], ARGV[i + 1]) end
note_encryption_key(prefix, run_key, key_name, t)
redis.call('HSET', run_key, 'ended', format_time(t), 'dispatches', 0, 'dispatched_at', format_time(t))
redis.call('ZADD', due_key, format_time(t + redispatch_after), run_id .. ':run')
move_in_index(prefix, 'live', 'delivering', run_id, read_index_fields(run_key))
count(prefix, 'ended:' .. outcome, 1)
mark_changed(prefix, run_id, t, 0)
start_next_scheduled(prefix, due_key, run_key, run_id, t)
return redis.call('HGET', run_key, 'outcome')
