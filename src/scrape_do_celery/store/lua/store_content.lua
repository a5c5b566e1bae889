-- Stores one task, if nobody has. In place of a task without a page stands what an earlier answer held of it.
-- KEYS: contents, part, provisional
-- ARGV: position, frame, counter, credits, 1 for a gone task, 1 for a task without a page, prefix, run id
-- Returns 1, 0 when it was there, -1 when the run is gone or the part has ended.
local state = redis.call('HGET', KEYS[2], 'state')
if not state or state == 'done' then return -1 end
local gone, held = ARGV[5] == '1', false
if gone then allow_when_full(KEYS[2]) end
if ARGV[6] == '1' then held = store_held(KEYS[3], KEYS[1], KEYS[2], ARGV[1]) end
if not held then
  if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
  redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
  if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
  if gone then redis.call('HINCRBY', KEYS[2], 'gone', 1) end
end
-- A page is progress: a step that dies after it does not poison the run.
redis.call('HSET', KEYS[2], 'attempts', 0)
mark_changed(ARGV[7], ARGV[8], now(), CHANGE_DELAY)
return 1
