-- The run of an idempotency key; where it has none yet, the id that the run will have which is made of this request.
-- KEYS: idempotency key  ARGV: an id for that, digest of the request, seconds for which it is reserved
-- Returns {'exists', '<run> <digest>'} or {'reserved', id}.
local held = redis.call('GET', KEYS[1])
if held then return {'exists', held} end
local reserved, digest = string.match(redis.call('GET', KEYS[1] .. ':reserved') or '', '^(.*) (.-)$')
-- Which of two requests gets the key is decided when one of them is written.
if reserved and digest ~= ARGV[2] then return {'reserved', ARGV[1]} end
reserved = reserved or ARGV[1]
redis.call('SET', KEYS[1] .. ':reserved', reserved .. ' ' .. ARGV[2], 'EX', ARGV[3])
return {'reserved', reserved}
