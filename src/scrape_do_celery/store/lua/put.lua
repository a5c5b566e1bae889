-- Stores one task, if nobody has. KEYS: contents, part  ARGV: position, frame, counter, credits, 1 for a gone task
-- Returns 1, 0 when it was there, -1 when the run is gone.
if redis.call('EXISTS', KEYS[2]) == 0 then return -1 end
if redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[2], ARGV[3], 1)
if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
if ARGV[5] == '1' then redis.call('HINCRBY', KEYS[2], 'gone', 1) end
return 1
