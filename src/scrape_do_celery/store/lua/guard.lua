-- The last look before a `POST` leaves. KEYS: part  ARGV: fence. Returns the seconds left of the lease, or -1.
local p = redis.call('HMGET', KEYS[1], 'fence', 'lease', 'state')
if p[1] ~= ARGV[1] or p[3] ~= 'submitting' then return '-1' end
return stamp(tonumber(p[2] or 0) - now())
