-- The run of an idempotency key; where it has none yet, the id that the run will have which is made of this request.
-- KEYS: idem  ARGV: an id for that, digest of the request, seconds for which it is promised
-- Returns {'exists', '<run> <digest>'} or {'promised', id}.
local held = redis.call('GET', KEYS[1])
if held then return {'exists', held} end
local promised, digest = string.match(redis.call('GET', KEYS[1] .. ':promised') or '', '^(.*) (.-)$')
-- Which of two requests gets the key is decided when one of them is written.
if promised and digest ~= ARGV[2] then return {'promised', ARGV[1]} end
promised = promised or ARGV[1]
redis.call('SET', KEYS[1] .. ':promised', promised .. ' ' .. ARGV[2], 'EX', ARGV[3])
return {'promised', promised}
