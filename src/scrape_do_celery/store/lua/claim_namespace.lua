-- Whose store this is: the application whose workers said so last, or nobody.
-- KEYS: namespace_owner  ARGV: name of the application, seconds that the claim lasts. Returns the name that stands.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
-- A store that is full takes it: see `allow_when_full`.
redis.call('PERSIST', KEYS[1])
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return ARGV[1]
