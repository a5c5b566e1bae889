-- Hands runs out that have moved, to be told of; they are handed out again where nobody says that he has told.
-- KEYS: moved  ARGV: most, seconds until they are handed out again
-- Returns {when that will be, run id ...}.
--- @include lib/clock
--- @include lib/memory
allow_when_full(KEYS[1] .. ':')
local t = now()
local again = format_time(t + ARGV[2])
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', format_time(t), 'LIMIT', 0, ARGV[1])
for _, run_id in ipairs(found) do redis.call('ZADD', KEYS[1], again, run_id) end
return {again, unpack(found)}
