-- Holds what an answer contained of a task that has not ended, in case that no later answer has more.
-- KEYS: provisional, part  ARGV: position, frame, seconds, credits
-- Returns 1, or -1 when the run is gone or the part has ended.
local state = redis.call('HGET', KEYS[2], 'state')
if not state or state == 'done' then return -1 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], ARGV[1] .. ':credits', ARGV[4])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
