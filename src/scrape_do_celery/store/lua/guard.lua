-- The last look before a `POST` leaves. KEYS: part, run  ARGV: fence.
-- Returns the seconds left of the lease, -1 where it is lost, -2 where nobody waits for the job any more.
local p = redis.call('HMGET', KEYS[1], 'fence', 'lease', 'state')
if p[1] ~= ARGV[1] or p[3] ~= 'submitting' then return '-1' end
if redis.call('HEXISTS', KEYS[2], 'stop_reason') == 1 then return '-2' end
return stamp(tonumber(p[2] or 0) - now())
