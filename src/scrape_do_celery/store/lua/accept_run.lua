-- Makes a draft live, and adds a Celery id that waits for the outcome. Doing it twice changes nothing.
-- KEYS: run, due
-- ARGV: run id, prefix, redispatch delay, waiter ('' for none), its delivery signature ('' for the plain step),
--       '1' to leave a draft a draft, the name of the key that the signature is encrypted with ('' for none)
-- Returns {'gone'}, {'forgotten'} or {'ok', parts}.
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/due
--- @include lib/encryption
--- @include lib/memory
--- @include lib/records
--- @include lib/runs
local run_id, prefix, redispatch_after, waiter, signature = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local entry = run_id .. ':run'
local r = redis.call('HMGET', KEYS[1], 'parts', 'accepted', 'outcome', 'max_wait', 'left', 'idempotency_key')
if not r[1] then return {redis.call('HEXISTS', KEYS[1], 'forgotten') == 1 and 'forgotten' or 'gone'} end
local t = now()
-- One that was canceled is not to wait for room.
if r[5] == '0' then allow_when_full(KEYS[1]) end
if not r[2] and ARGV[6] == '' then
  redis.call('HSET', KEYS[1], 'accepted', format_time(t), 'dispatches', 0)
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  count(prefix, 'accepted', 1)
  redis.call('ZREM', KEYS[2], entry)
  for n = 0, tonumber(r[1]) - 1 do
    local key = make_part_key(prefix, run_id, n)
    if redis.call('HGET', key, 'state') ~= 'done' then make_due(KEYS[2], key, run_id .. ':' .. n, t, redispatch_after) end
  end
  if r[4] then
    redis.call('HSET', KEYS[1], 'deadline', format_time(t + r[4]))
    redis.call('ZADD', KEYS[2], format_time(t + r[4]), entry)
  end
  if r[5] == '0' then redis.call('ZADD', KEYS[2], format_time(t), entry) end
end
if waiter ~= '' and redis.call('HEXISTS', KEYS[1], 'delivered:' .. waiter) == 0 then
  if redis.call('HSETNX', KEYS[1], 'waiter:' .. waiter, signature) == 1 then
    note_encryption_key(prefix, KEYS[1], ARGV[7], t)
    redis.call('HINCRBY', KEYS[1], 'waiting', 1)
    -- It waits for a draft in its own right, whenever the first one's message expires.
    redis.call('HDEL', KEYS[1], 'expires_in')
    if r[3] then
      -- Its life may be nearly over; it is counted down anew when this one is told.
      redis.call('PERSIST', KEYS[1])
      if has_key(r[6], run_id) then redis.call('PERSIST', r[6]) end
      redis.call('HSET', KEYS[1], 'dispatches', 0)
      redis.call('HDEL', KEYS[1], 'dispatched_at')
      redis.call('ZADD', KEYS[2], format_time(t), entry)
    end
  end
end
return {'ok', r[1]}
