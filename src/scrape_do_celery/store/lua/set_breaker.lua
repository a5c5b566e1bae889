--[[ Open the breaker of an account whose token was refused, unless it is open, or close the breaker.

  KEYS  breaker  hash  which token is refused and since when, and time of the next probe
  ARGV  probe_delay (seconds until the first probe or "" to close), prefix,
        token (fingerprint of the refused token), auth_grace (seconds until the runs fail)

  Returns 1 if that changed something, else 0.
]]
--- @include lib/breaker
--- @include lib/clock
--- @include lib/memory
--- @include lib/watched
local breaker_key = KEYS[1]
local probe_delay, prefix, token, auth_grace = unpack(ARGV)

if probe_delay == '' then return redis.call('DEL', breaker_key) end
allow_when_full(breaker_key)
local t = now()
local is_new = redis.call('HSETNX', breaker_key, 'since', format_time(t))
if is_new == 1 then
  local _, most = read_watched(prefix, t)
  redis.call('HSET', breaker_key, 'next', format_time(t + probe_delay), 'watched', format_time(most))
end
redis.call('HSET', breaker_key, 'token', token)
keep_breaker(breaker_key, auth_grace)
return is_new
