-- Stores one task, if nobody has.
-- KEYS: contents, part  ARGV: position, frame, counter, credits, 1 for a gone task, prefix, run id
-- Returns 1, 0 when it was there, -1 when the run is gone or the part has ended.
local p = redis.call('HMGET', KEYS[2], 'state', ARGV[3], 'bytes')
if not p[1] or p[1] == 'done' then return -1 end
if ARGV[5] == '1' then though_full(KEYS[2]) end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
-- A page is progress: a step that dies after it does not poison the run.
redis.call('HSET', KEYS[2], 'attempts', 0, ARGV[3], string.format('%d', (p[2] or 0) + 1),
  'bytes', string.format('%d', (p[3] or 0) + #ARGV[2]))
if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
if ARGV[5] == '1' then redis.call('HINCRBY', KEYS[2], 'gone', 1) end
tell(ARGV[6], ARGV[7], now(), NEWS)
return 1
