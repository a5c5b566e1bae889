-- Check fence, lease and stop request once more, just before a `POST` leaves. KEYS: part, run  ARGV: fence.
-- Return the seconds left of the lease, -1 if the lease is lost, -2 if the run has a stop request.
--- @include lib/clock
local p = redis.call('HMGET', KEYS[1], 'fence', 'lease', 'state')
if p[1] ~= ARGV[1] or p[3] ~= 'submitting' then return '-1' end
if redis.call('HEXISTS', KEYS[2], 'stop_reason') == 1 then return '-2' end
return format_time(tonumber(p[2] or 0) - now())
