-- Frees all that an ended run holds. KEYS: run, due  ARGV: run id, prefix
-- Returns 1, 0 when it is not there, -1 when it still lives.
local run_id, prefix = ARGV[1], ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome', 'idem')
if not r[1] then return 0 end
if not r[2] then return -1 end
for n = 0, tonumber(r[1]) - 1 do
  local suffix = run_id .. ':' .. n
  redis.call('DEL', prefix .. ':part:' .. suffix, prefix .. ':job:' .. suffix, prefix .. ':contents:' .. suffix)
end
redis.call('ZREM', KEYS[2], run_id .. ':run')
redis.call('DEL', KEYS[1])
return 1
