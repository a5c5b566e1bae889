-- Makes a draft live, and adds a Celery id that waits for the outcome. Doing it twice changes nothing.
-- KEYS: run, due
-- ARGV: run id, prefix, ring, waiter ('' for none), its finish signature ('' for the plain step)
-- Returns {'gone'} or {'ok', parts, outcome or ''}.
local run_id, prefix, ring, waiter, signature = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local r = redis.call('HMGET', KEYS[1], 'parts', 'accepted', 'outcome', 'idem', 'max_wait')
if not r[1] then return {'gone'} end
local t = now()
if not r[2] then
  redis.call('HSET', KEYS[1], 'accepted', stamp(t))
  redis.call('PERSIST', KEYS[1])
  if r[4] then redis.call('PERSIST', r[4]) end
  for n = 0, tonumber(r[1]) - 1 do
    local key = part_key(prefix, run_id, n)
    redis.call('PERSIST', key)
    if redis.call('HGET', key, 'state') ~= 'done' then wake(KEYS[2], key, run_id .. ':' .. n, t, ring) end
  end
  if r[5] then
    redis.call('HSET', KEYS[1], 'deadline', stamp(t + r[5]))
    redis.call('ZADD', KEYS[2], stamp(t + r[5]), run_id .. ':run')
  end
  if redis.call('HGET', KEYS[1], 'left') == '0' then redis.call('ZADD', KEYS[2], stamp(t), run_id .. ':run') end
end
if waiter ~= '' and redis.call('HEXISTS', KEYS[1], 'd:' .. waiter) == 0 then
  if redis.call('HSETNX', KEYS[1], 'w:' .. waiter, signature) == 1 then
    redis.call('HINCRBY', KEYS[1], 'waiting', 1)
    if r[3] then
      redis.call('HSET', KEYS[1], 'rings', 0)
      redis.call('ZADD', KEYS[2], stamp(t), run_id .. ':run')
    end
  end
end
return {'ok', r[1], r[3] or ''}
