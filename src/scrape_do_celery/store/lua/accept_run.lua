--[[ Accept a draft, and add a waiter to a run. A second call with the same arguments changes nothing.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> when it needs a step
  ARGV  run_id, prefix, redispatch_after, waiter ("" for none),
        signature (for the delivery; "" for the plain step),
        keep_draft ("1" if a draft stays a draft; "" otherwise),
        key_name (of the encryption key of the signature; "" for none)

  Returns {'gone'}, {'forgotten'}, {'newer', the version of the record} or {'accepted', number of parts}.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/due
--- @include lib/encryption
--- @include lib/guards
--- @include lib/index
--- @include lib/memory
--- @include lib/records
--- @include lib/runs
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, redispatch_after, waiter, signature, keep_draft, key_name = unpack(ARGV)
local entry = run_id .. ':run'

local run = read_fields(run_key, 'parts', 'accepted', 'outcome', 'max_wait', 'left', 'idempotency_key')
if not run.parts then return {redis.call('HEXISTS', run_key, 'forgotten') == 1 and 'forgotten' or 'gone'} end
local newer = newer_version(run_key)
if newer then return {'newer', newer} end
local t = now()
-- The parts of a canceled draft have all ended. The end of such a run must not wait for free memory.
if run.left == '0' then allow_when_full(run_key) end
if not run.accepted and keep_draft == '' then
  redis.call('HSET', run_key, 'accepted', format_time(t), 'dispatches', 0)
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  count(prefix, 'accepted', 1)
  redis.call('ZREM', due_key, entry)
  for n = 0, tonumber(run.parts) - 1 do
    local part_key = make_part_key(prefix, run_id, n)
    if redis.call('HGET', part_key, 'state') ~= 'done' then
      make_due(due_key, part_key, run_id .. ':' .. n, t, redispatch_after)
    end
  end
  if run.max_wait then
    redis.call('HSET', run_key, 'deadline', format_time(t + run.max_wait))
    redis.call('ZADD', due_key, format_time(t + run.max_wait), entry)
  end
  if run.left == '0' then redis.call('ZADD', due_key, format_time(t), entry) end
end
if waiter ~= '' and redis.call('HEXISTS', run_key, 'delivered:' .. waiter) == 0 then
  if redis.call('HSETNX', run_key, 'waiter:' .. waiter, signature) == 1 then
    note_encryption_key(prefix, run_key, key_name, t)
    redis.call('HINCRBY', run_key, 'waiting', 1)
    -- The new waiter needs the run even if the message of the first waiter expires.
    redis.call('HDEL', run_key, 'expires_in')
    if run.outcome then
      -- The keys of an ended run may expire soon. The delivery to this waiter sets the TTLs again.
      redis.call('PERSIST', run_key)
      keep_in_index(prefix, run_id, read_index_fields(run_key))
      if has_key(run.idempotency_key, run_id) then keep_guard(prefix, run.idempotency_key) end
      redis.call('HSET', run_key, 'dispatches', 0)
      redis.call('HDEL', run_key, 'dispatched_at')
      redis.call('ZADD', due_key, format_time(t), entry)
    end
  end
end
return {'accepted', run.parts}
