-- Another part with the same targets whose purchase was never resolved; '' where there is none.
-- KEYS: part, run  ARGV: member, prefix
local account = redis.call('HGET', KEYS[2], 'account') or ''
local doubt = redis.call('GET', ARGV[2] .. ':doubt:' .. account .. ':' .. redis.call('HGET', KEYS[1], 'fp'))
return doubt and doubt ~= ARGV[1] and doubt or ''
