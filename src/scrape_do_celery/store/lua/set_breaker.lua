-- Opens the breaker of an account whose token was refused, or finds it open; or closes it.
-- KEYS: breaker  ARGV: seconds until the first probe, '' to close. Returns 1 where that changed something.
--- @include lib/clock
--- @include lib/memory
if ARGV[1] == '' then return redis.call('DEL', KEYS[1]) end
allow_when_full(KEYS[1])
local t = now()
if redis.call('HSETNX', KEYS[1], 'since', format_time(t)) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'next', format_time(t + ARGV[1]))
return 1
