-- Writes the intent to buy down, before the `POST`.
-- KEYS: part, run, due  ARGV: member, fence, nonce, lease seconds
-- Returns {'ok', now}, {'stale'}, {'wish', which} or {'stop'}.
local p = redis.call('HMGET', KEYS[1], 'fence', 'state', 'nonce')
if p[1] ~= ARGV[2] then return {'stale'} end
local t = now()
if p[2] == 'submitting' and p[3] == ARGV[3] then return {'ok', stamp(t)} end
if p[2] ~= 'queued' then return {'stale'} end
local r = redis.call('HMGET', KEYS[2], 'wish', 'stop')
if r[1] then return {'wish', r[1]} end
if r[2] then return {'stop'} end
redis.call('HSET', KEYS[1], 'state', 'submitting', 'intent', stamp(t), 'nonce', ARGV[3], 'lease', stamp(t + ARGV[4]),
  'attempts', 0)
redis.call('ZADD', KEYS[3], stamp(t + ARGV[4]), ARGV[1])
return {'ok', stamp(t)}
