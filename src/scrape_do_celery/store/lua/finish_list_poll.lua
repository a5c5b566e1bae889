-- Ends a sweep, or a share of its end: what was due when it began and was not seen is looked at by itself.
-- KEYS: watch, sweep, due
-- ARGV: token, prefix, most to hand over, pages of jobs that are not ours ('' to go on with the sweep),
--       seconds of rest after it at least, seconds that the caller has to publish by itself, seconds of rest at most
-- Returns which were handed over; none where another has the sweep.
--- @include lib/clock
--- @include lib/due
--- @include lib/memory
local s = redis.call('HMGET', KEYS[2], 'token', 'began')
if s[1] ~= ARGV[1] then return {} end
allow_when_full(KEYS[2])
local t = now()
local found = move_to_due(KEYS[1], KEYS[3], ARGV[2], s[2], t, ARGV[6], ARGV[3])
if ARGV[4] ~= '' and #found < tonumber(ARGV[3]) then
  local rest = math.max(ARGV[5], math.min(t - s[2], ARGV[7]))
  redis.call('HSET', KEYS[2], 'until', format_time(t + rest), 'token', '', 'others', ARGV[4], 'ended', format_time(t))
end
return found
