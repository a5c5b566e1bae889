-- Notes a purchase that the API rejected, so that the job list is read for its job later.
-- KEYS: rejected, part  ARGV: entry, seconds until then
--- @include lib/clock
local order = redis.call('HGET', KEYS[2], 'order') or '0'
redis.call('ZADD', KEYS[1], format_time(now() + ARGV[2]), ARGV[1] .. ' ' .. order)
redis.call('EXPIRE', KEYS[1], 86400)
return 1
