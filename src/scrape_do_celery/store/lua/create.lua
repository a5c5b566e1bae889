-- Writes a run and its parts down, all or nothing.
-- KEYS: run, due, idem ('' for none); of a schedule's tick also its name in the store, and the schedule's
-- ARGV: run id, prefix, digest, redispatch delay, max_wait ('' for none), idem value, waiting Celery id, its delivery signature,
--       for a draft the seconds after which the dispatcher accepts it ('' for a live run),
--       for a tick what it does while the run before it goes on ('' for none), and the outcome of what that ends unsent,
--       its tick's name ('' for none),
--       number of parts, (total, fingerprint) a part, then field, value ... of the record
-- Returns {'created', id}, {'exists', '<run> <digest>'} or {'forgotten', id}; for a key that was promised to another id,
-- {'promised', that}; for a tick also {'waits', id} or {'left out', the run that goes on or ''}.
local run_id, prefix, digest, redispatch_after, max_wait, hold = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[9]
-- The answer to this very request was lost, and it was sent again.
if not KEYS[4] and ARGV[8] ~= '' and redis.call('HGET', KEYS[1], 'w:' .. ARGV[7]) == ARGV[8] then
  return {'created', run_id}
end
if KEYS[3] ~= '' then
  local held = redis.call('GET', KEYS[3])
  if held then return {'exists', held} end
  local promised, theirs = string.match(redis.call('GET', KEYS[3] .. ':promised') or '', '^(.*) (.-)$')
  if promised and promised ~= run_id and theirs == digest then return {'promised', promised} end
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
  if decided == '' then return {'left out', ''} end
  if decided then return {'exists', decided} end
  before = redis.call('GET', KEYS[5])
  if before and not goes_on(prefix, before) then before = nil end
  if before and (ARGV[10] == 'skip' or (ARGV[10] == 'cancel_previous' and is_earlier(before))) then
    redis.call('SET', KEYS[4], '', 'EX', AGAIN)
    return {'left out', before}
  end
  if not before or ARGV[10] ~= 'queue' then hold = '' end
end
local epoch = store_epoch(prefix, t)
local parts = tonumber(ARGV[13])
local at = 14
redis.call('HSET', KEYS[1], 'created', stamp(t), 'digest', digest, 'parts', parts, 'left', parts)
if epoch ~= 'unknown' then redis.call('HSET', KEYS[1], 'epoch', epoch_tag(epoch)) end
redis.call('HSET', KEYS[1], 'w:' .. ARGV[7], ARGV[8], 'waiting', 1)
for n = 0, parts - 1 do
  local key = part_key(prefix, run_id, n)
  redis.call('HSET', key, 'state', 'queued', 'fence', 0, 'total', ARGV[at], 'fp', ARGV[at + 1])
  at = at + 2
  if hold == '' then make_due(KEYS[2], key, run_id .. ':' .. n, t, redispatch_after) end
end
while at < #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
note_key(prefix, KEYS[1], redis.call('HGET', KEYS[1], 'key') or '', t)
if KEYS[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6])
  redis.call('DEL', KEYS[3] .. ':promised')
  redis.call('HSET', KEYS[1], 'idem', KEYS[3])
end
if KEYS[4] then
  redis.call('SET', KEYS[4], ARGV[6], 'EX', AGAIN)
  redis.call('SET', KEYS[5], run_id)
  redis.call('HSET', KEYS[1], 'schedule', KEYS[5], 'tick', ARGV[12])
end
if max_wait ~= '' then redis.call('HSET', KEYS[1], 'max_wait', max_wait) end
if hold ~= '' then
  redis.call('ZADD', KEYS[2], stamp(t + hold), run_id .. ':run')
else
  redis.call('HSET', KEYS[1], 'accepted', stamp(t))
  total(prefix, 'accepted', 1)
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  if max_wait ~= '' then
    redis.call('HSET', KEYS[1], 'deadline', stamp(t + max_wait))
    redis.call('ZADD', KEYS[2], stamp(t + max_wait), run_id .. ':run')
  end
end
if before and hold ~= '' then
  redis.call('HSET', prefix .. ':run:' .. before, 'next', run_id)
  redis.call('HSET', KEYS[1], 'after', before)
  return {'waits', run_id}
end
-- One that waited itself is not the last that goes on.
while before and goes_on(prefix, before) do
  request_stop(prefix, KEYS[2], before, 'cancel', ARGV[11], t)
  before = redis.call('HGET', prefix .. ':run:' .. before, 'after')
end
return {'created', run_id}
