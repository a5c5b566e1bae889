-- Lets a draft wait for the end of another run. KEYS: that other run, the draft  ARGV: their ids
-- Returns 1, or 0 where the other has ended or is gone: there is nothing to wait for.
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome')
if not r[1] or r[2] then return 0 end
redis.call('HSET', KEYS[1], 'next', ARGV[2])
redis.call('HSET', KEYS[2], 'after', ARGV[1])
return 1
