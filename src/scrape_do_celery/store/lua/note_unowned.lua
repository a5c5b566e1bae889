-- Notes jobs of the API that no run owns, each with the time at which it was first seen. A job that was seen before an
-- intent was not bought by it.
-- KEYS: unowned  ARGV: seconds for which a job is remembered, most jobs to remember, then ids ...
-- Returns the time at which each was first seen.
local t, out = now(), {}
though_full(KEYS[1] .. ':')
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], 'NX', stamp(t), ARGV[i]) end
for i = 3, #ARGV do out[#out + 1] = redis.call('ZSCORE', KEYS[1], ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', stamp(t - ARGV[1]))
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return out
