-- Takes, or keeps, an account's sweep.
-- KEYS: sweep, watch  ARGV: token, lease seconds
-- Returns 1 where it is the caller's; 0 where another has it, or where there is nothing to look for (any more).
--- @include lib/clock
--- @include lib/memory
local t = now()
local s = redis.call('HMGET', KEYS[1], 'token', 'until')
if s[1] ~= ARGV[1] then
  if s[1] and s[1] ~= '' and tonumber(s[2] or 0) > t then return 0 end
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
  if not first or tonumber(first) > t then return 0 end
end
allow_when_full(KEYS[1])
if s[1] ~= ARGV[1] then redis.call('HSET', KEYS[1], 'began', format_time(t)) end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'until', format_time(t + ARGV[2]))
return 1
