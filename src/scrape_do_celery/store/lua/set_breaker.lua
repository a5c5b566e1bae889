--[[ Open the breaker of an account whose token was refused, unless it is open, or close the breaker.

  KEYS  breaker  hash  time of the refusal, and time of the next probe
  ARGV  probe_delay (seconds until the first probe or "" to close), prefix

  Returns 1 if that changed something, else 0.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/watched
local breaker_key = KEYS[1]
local probe_delay, prefix = unpack(ARGV)

if probe_delay == '' then return redis.call('DEL', breaker_key) end
allow_when_full(breaker_key)
local t = now()
if redis.call('HSETNX', breaker_key, 'since', format_time(t)) == 0 then return 0 end
local _, most = read_watched(prefix, t)
redis.call('HSET', breaker_key, 'next', format_time(t + probe_delay), 'watched', format_time(most))
return 1
