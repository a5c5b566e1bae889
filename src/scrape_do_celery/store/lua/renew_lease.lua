-- Keeps a lease; never shortens it, and never takes back one that was given up.
-- KEYS: part  ARGV: fence, lease seconds. Returns 1, or 0 when another has it.
--- @include lib/clock
--- @include lib/memory
local p = redis.call('HMGET', KEYS[1], 'fence', 'lease', 'token')
if p[1] ~= ARGV[1] then return 0 end
allow_when_full(KEYS[1])
if p[3] and p[3] ~= '' then
  redis.call('HSET', KEYS[1], 'lease', format_time(math.max(tonumber(p[2] or 0), now() + ARGV[2])))
end
return 1
