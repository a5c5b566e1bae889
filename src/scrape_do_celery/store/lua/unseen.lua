-- Ends a sweep, or a share of its end: what was due when it began and was not seen is looked at by itself.
-- KEYS: watch, sweep, due
-- ARGV: token, when it began, prefix, most to hand over, requests that it took ('' to go on with the sweep),
--       seconds of rest after it at least, seconds that the caller has to ring by itself
-- Returns which were handed over; none where another has the sweep.
if redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then return {} end
though_full(KEYS[2])
local t = now()
local found = hand_over(KEYS[1], KEYS[3], ARGV[3], ARGV[2], t, ARGV[7], ARGV[4])
if ARGV[5] ~= '' and #found < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[2], 'until', stamp(t + math.max(ARGV[6], t - ARGV[2])), 'token', '', 'requests', ARGV[5])
end
return found
