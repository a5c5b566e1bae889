-- The parts with the same targets whose purchases were never found, where there is another than this one; else ''.
-- KEYS: part  ARGV: member, prefix
local p = redis.call('HMGET', KEYS[1], 'account', 'fp')
local doubt = redis.call('GET', ARGV[2] .. ':doubt:' .. (p[1] or '') .. ':' .. p[2])
return doubt and doubt ~= ARGV[1] and doubt or ''
