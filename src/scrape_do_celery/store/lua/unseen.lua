-- Ends a sweep, or a share of its end: what was due when it began and was not seen is looked at by itself.
-- KEYS: watch, sweep, due  ARGV: token, when it began, prefix, most to hand over, requests that it took
-- Returns how many were handed over; -1 where another has the sweep.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return -1 end
local t = now()
local unseen = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[4])
for _, member in ipairs(unseen) do
  local run_id, n = string.match(member, '^(.*):([^:]*)$')
  wake(KEYS[3], part_key(ARGV[3], run_id, n), member, t, 0)
end
if #unseen < tonumber(ARGV[4]) then redis.call('HSET', KEYS[2], 'until', 0, 'token', '', 'requests', ARGV[5]) end
return #unseen
