-- Takes rejected purchases whose time has come; if their step dies, another takes them later.
-- KEYS: rejected  ARGV: seconds until others may take them, most to take
--- @include lib/clock
local t = now()
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', format_time(t), 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(found) do redis.call('ZADD', KEYS[1], format_time(t + ARGV[1]), entry) end
return found
