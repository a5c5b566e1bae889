-- Writes a run and its parts down, all or nothing.
-- KEYS: run, due, idempotency key ('' for none); of a schedule's tick also its name in the store, and the schedule's
-- ARGV: run id, prefix, digest, redispatch delay, max_wait ('' for none), value of the idempotency key, waiting Celery id, its delivery signature,
--       for a draft the seconds after which the dispatcher accepts it ('' for a live run),
--       for a tick what it does while the run before it goes on ('' for none), and the outcome of what that ends unsent,
--       its tick's name ('' for none),
--       number of parts, (total, fingerprint) a part, then field, value ... of the record
-- Returns {'created', id}, {'exists', '<run> <digest>'} or {'forgotten', id}; for a key that is reserved for another id,
-- {'reserved', that}; for a tick also {'waiting', id} or {'tick_skipped', the run that is live or ''}.
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/due
--- @include lib/encryption
--- @include lib/epoch
--- @include lib/records
--- @include lib/runs
--- @include lib/stop
local run_id, prefix, digest, redispatch_after, max_wait, start_delay = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[9]
-- The answer to this very request was lost, and it was sent again.
if not KEYS[4] and ARGV[8] ~= '' and redis.call('HGET', KEYS[1], 'waiter:' .. ARGV[7]) == ARGV[8] then
  return {'created', run_id}
end
if KEYS[3] ~= '' then
  local held = redis.call('GET', KEYS[3])
  if held then return {'exists', held} end
  local reserved, theirs = string.match(redis.call('GET', KEYS[3] .. ':reserved') or '', '^(.*) (.-)$')
  if reserved and reserved ~= run_id and theirs == digest then return {'reserved', reserved} end
end
if redis.call('HEXISTS', KEYS[1], 'forgotten') == 1 then return {'forgotten', run_id} end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'exists', run_id .. ' ' .. redis.call('HGET', KEYS[1], 'digest')}
end
-- Whether the tick is earlier than that of another run of its schedule: a message that was late. Names of one rule are of
-- one length, and in the order of their times.
local function is_earlier(other)
  local tick, theirs = ARGV[12], redis.call('HGET', prefix .. ':run:' .. other, 'tick') or ''
  return #tick == #theirs and tick < theirs
end
local t = now()
local before
if KEYS[4] then
  local decided = redis.call('GET', KEYS[4])
  if decided == '' then return {'tick_skipped', ''} end
  if decided then return {'exists', decided} end
  before = redis.call('GET', KEYS[5])
  if before and not is_live(prefix, before) then before = nil end
  if before and (ARGV[10] == 'skip' or (ARGV[10] == 'cancel_previous' and is_earlier(before))) then
    redis.call('SET', KEYS[4], '', 'EX', MARK_TTL)
    return {'tick_skipped', before}
  end
  if not before or ARGV[10] ~= 'queue' then start_delay = '' end
end
local epoch = store_epoch(prefix, t)
local parts = tonumber(ARGV[13])
local at = 14
redis.call('HSET', KEYS[1], 'created', format_time(t), 'digest', digest, 'parts', parts, 'left', parts)
if epoch ~= 'unknown' then redis.call('HSET', KEYS[1], 'epoch', epoch_tag(epoch)) end
redis.call('HSET', KEYS[1], 'waiter:' .. ARGV[7], ARGV[8], 'waiting', 1)
for n = 0, parts - 1 do
  local key = make_part_key(prefix, run_id, n)
  redis.call('HSET', key, 'state', 'queued', 'fence', 0, 'total', ARGV[at], 'fingerprint', ARGV[at + 1])
  at = at + 2
  if start_delay == '' then make_due(KEYS[2], key, run_id .. ':' .. n, t, redispatch_after) end
end
while at < #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
note_encryption_key(prefix, KEYS[1], redis.call('HGET', KEYS[1], 'key') or '', t)
if KEYS[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6])
  redis.call('DEL', KEYS[3] .. ':reserved')
  redis.call('HSET', KEYS[1], 'idempotency_key', KEYS[3])
end
if KEYS[4] then
  redis.call('SET', KEYS[4], ARGV[6], 'EX', MARK_TTL)
  redis.call('SET', KEYS[5], run_id)
  redis.call('HSET', KEYS[1], 'schedule', KEYS[5], 'tick', ARGV[12])
end
if max_wait ~= '' then redis.call('HSET', KEYS[1], 'max_wait', max_wait) end
if start_delay ~= '' then
  redis.call('ZADD', KEYS[2], format_time(t + start_delay), run_id .. ':run')
else
  redis.call('HSET', KEYS[1], 'accepted', format_time(t))
  count(prefix, 'accepted', 1)
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  if max_wait ~= '' then
    redis.call('HSET', KEYS[1], 'deadline', format_time(t + max_wait))
    redis.call('ZADD', KEYS[2], format_time(t + max_wait), run_id .. ':run')
  end
end
if before and start_delay ~= '' then
  redis.call('HSET', prefix .. ':run:' .. before, 'next', run_id)
  redis.call('HSET', KEYS[1], 'after', before)
  return {'waiting', run_id}
end
-- One that waited itself is not the last that goes on.
while before and is_live(prefix, before) do
  request_stop(prefix, KEYS[2], before, 'cancel', ARGV[11], t)
  before = redis.call('HGET', prefix .. ':run:' .. before, 'after')
end
return {'created', run_id}
