-- Writes a run and its parts down, all or nothing.
-- KEYS: run, due, idem ('' for none)
-- ARGV: run id, prefix, digest, ring, max_wait ('' for none), idem value, waiting Celery id, its finish signature,
--       for a draft the seconds after which the ticker accepts it ('' for a live run),
--       number of parts, (total, fingerprint) a part, then field, value ... of the record
-- Returns {'created', id}, {'exists', '<run> <digest>'} or {'forgotten', id}.
local run_id, prefix, digest, ring, max_wait, hold = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5], ARGV[9]
if KEYS[3] ~= '' then
  local held = redis.call('GET', KEYS[3])
  if held then return {'exists', held} end
end
if redis.call('HEXISTS', KEYS[1], 'forgotten') == 1 then return {'forgotten', run_id} end
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'exists', run_id .. ' ' .. redis.call('HGET', KEYS[1], 'digest')}
end
local t = now()
incarnation(prefix, t)
local parts = tonumber(ARGV[10])
local at = 11
redis.call('HSET', KEYS[1], 'created', stamp(t), 'digest', digest, 'parts', parts, 'left', parts)
redis.call('HSET', KEYS[1], 'w:' .. ARGV[7], ARGV[8], 'waiting', 1)
for n = 0, parts - 1 do
  local key = part_key(prefix, run_id, n)
  redis.call('HSET', key, 'state', 'queued', 'fence', 0, 'total', ARGV[at], 'fp', ARGV[at + 1])
  at = at + 2
  if hold == '' then wake(KEYS[2], key, run_id .. ':' .. n, t, ring) end
end
while at < #ARGV do
  redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end
note_key(prefix, KEYS[1], redis.call('HGET', KEYS[1], 'key') or '', t)
if KEYS[3] ~= '' then
  redis.call('SET', KEYS[3], ARGV[6])
  redis.call('HSET', KEYS[1], 'idem', KEYS[3])
end
if max_wait ~= '' then redis.call('HSET', KEYS[1], 'max_wait', max_wait) end
if hold ~= '' then
  redis.call('ZADD', KEYS[2], stamp(t + hold), run_id .. ':run')
else
  redis.call('HSET', KEYS[1], 'accepted', stamp(t))
  total(prefix, 'accepted', 1)
  tell(prefix, run_id, t, NEWS)
  if max_wait ~= '' then
    redis.call('HSET', KEYS[1], 'deadline', stamp(t + max_wait))
    redis.call('ZADD', KEYS[2], stamp(t + max_wait), run_id .. ':run')
  end
end
return {'created', run_id}
