-- Ends a sweep, or a share of its end: what was due when it began and was not seen is looked at by itself.
-- KEYS: watch, sweep, due
-- ARGV: token, when it began, prefix, most to hand over, requests that it took ('' to go on with the sweep)
-- Returns how many were handed over; -1 where another has the sweep.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return -1 end
though_full(KEYS[2])
local count = hand_over(KEYS[1], KEYS[3], ARGV[3], ARGV[2], now(), ARGV[4])
if ARGV[5] ~= '' and count < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'until', 0, 'token', '', 'requests', ARGV[5])
end
return count
