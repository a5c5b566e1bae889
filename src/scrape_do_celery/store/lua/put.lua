-- Stores one task, if nobody has.
-- KEYS: contents, part  ARGV: position, frame, counter, credits, 1 for a gone task, prefix, run id
-- Returns 1, 0 when it was there, -1 when the run is gone or the part has ended.
local state = redis.call('HGET', KEYS[2], 'state')
if not state or state == 'done' then return -1 end
if ARGV[5] == '1' then though_full(KEYS[2]) end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
-- A page is progress: a step that dies after it does not poison the run.
redis.call('HSET', KEYS[2], 'attempts', 0)
if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
if ARGV[5] == '1' then redis.call('HINCRBY', KEYS[2], 'gone', 1) end
tell(ARGV[6], ARGV[7], now(), NEWS)
return 1
