-- Replaces the record of a page that was too large by the page, once.
-- KEYS: contents, part
-- ARGV: position, frame, '1' for a task that succeeded, credits, the field that marks what was replaced
-- Returns 1, or 0 when the page was replaced before, or its life has passed.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[5], 1) == 0 then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if ARGV[3] == '1' then
  redis.call('HINCRBY', KEYS[2], 'stored_failed', -1)
  redis.call('HINCRBY', KEYS[2], 'stored_ok', 1)
end
if ARGV[4] ~= '0' then redis.call('HINCRBYFLOAT', KEYS[2], 'credits', ARGV[4]) end
return 1
