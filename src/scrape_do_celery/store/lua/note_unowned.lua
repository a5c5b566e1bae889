-- Notes jobs of the API that no run owns, each with the place of its first sighting in the order of intents. A job that was
-- seen before an intent was not bought by it.
-- KEYS: unowned  ARGV: prefix, seconds after which an account without such jobs is forgotten, most jobs to remember, then
-- ids ...
-- Returns the place of each.
--- @include lib/memory
--- @include lib/purchases
allow_when_full(KEYS[1] .. ':')
local order, out = next_in_order(ARGV[1]), {}
for i = 4, #ARGV do redis.call('ZADD', KEYS[1], 'NX', order, ARGV[i]) end
for i = 4, #ARGV do out[#out + 1] = redis.call('ZSCORE', KEYS[1], ARGV[i]) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return out
