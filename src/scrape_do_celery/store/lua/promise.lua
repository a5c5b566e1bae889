-- The run of an idempotency key; where it has none yet, the id that the run will have which is made for it.
-- KEYS: idem  ARGV: an id for that, seconds for which it is promised
-- Returns {'exists', '<run> <digest>'} or {'promised', id}.
local held = redis.call('GET', KEYS[1])
if held then return {'exists', held} end
local promised = redis.call('GET', KEYS[1] .. ':promised') or ARGV[1]
redis.call('SET', KEYS[1] .. ':promised', promised, 'EX', ARGV[2])
return {'promised', promised}
