-- Frees all that an ended run holds; where somebody is still to be told of its outcome, right after that.
-- KEYS: run, due  ARGV: run id, prefix
-- Returns 1, 0 when it is not there, -1 when it still lives.
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome', 'idem', 'waiting')
if not r[1] then return 0 end
if not r[2] then return -1 end
if tonumber(r[4]) > 0 then
  redis.call('HSET', KEYS[1], 'forget', 1)
else
  free(KEYS[2], KEYS[1], ARGV[2], ARGV[1], r[1], r[3])
end
return 1
