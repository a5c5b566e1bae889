-- Stores one task, if nobody has. In place of a gone task stands what an earlier answer held of it.
-- KEYS: contents, part, provisional  ARGV: position, frame, counter, credits, 1 for a gone task, prefix, run id
-- Returns 1, 0 when it was there, -1 when the run is gone or the part has ended.
local state = redis.call('HGET', KEYS[2], 'state')
if not state or state == 'done' then return -1 end
local gone, frame = ARGV[5] == '1', ARGV[2]
if gone then
  though_full(KEYS[2])
  local held = redis.call('HGET', KEYS[3], ARGV[1])
  if held then gone, frame = false, held end
end
if redis.call('HSETNX', KEYS[1], ARGV[1], frame) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
-- A page is progress: a step that dies after it does not poison the run.
redis.call('HSET', KEYS[2], 'attempts', 0)
if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
if gone then redis.call('HINCRBY', KEYS[2], 'gone', 1) end
tell(ARGV[6], ARGV[7], now(), NEWS)
return 1
