-- Takes, or keeps, an account's sweep.
-- KEYS: sweep  ARGV: token, lease seconds
-- Returns the store's time, '' where another has it.
local t = now()
local s = redis.call('HMGET', KEYS[1], 'token', 'until')
if s[1] and s[1] ~= '' and s[1] ~= ARGV[1] and tonumber(s[2] or 0) > t then return '' end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'until', stamp(t + ARGV[2]))
return stamp(t)
