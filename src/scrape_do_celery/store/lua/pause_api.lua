-- Leaves the API alone for so many seconds, for all workers; a longer pause stands.
-- KEYS: pause  ARGV: seconds. Returns until when.
--- @include lib/clock
local until_ = now() + ARGV[1]
local held = tonumber(redis.call('GET', KEYS[1]) or 0)
if held >= until_ then return format_time(held) end
-- A store that is full takes it: see `allow_when_full`.
redis.call('PERSIST', KEYS[1])
redis.call('SET', KEYS[1], format_time(until_), 'PX', math.max(1, math.floor(ARGV[1] * 1000)))
return format_time(until_)
