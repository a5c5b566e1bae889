-- Writes the outcome of a run, once.
-- KEYS: run, due
-- ARGV: run id, redispatch delay, prefix, name of the key that values are encrypted with ('' for none), field, value ... (outcome first)
-- Returns the outcome that stands, '' when the run is gone, or goes on: a store that lost its last writes since its
-- parts were seen to have ended.
--- @include lib/changes
--- @include lib/clock
--- @include lib/counters
--- @include lib/encryption
--- @include lib/memory
--- @include lib/schedules
local r = redis.call('HMGET', KEYS[1], 'outcome', 'parts', 'left')
if r[1] then return r[1] end
if not r[2] or r[3] ~= '0' then return '' end
allow_when_full(KEYS[1])
local t = now()
for i = 5, #ARGV - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
note_encryption_key(ARGV[3], KEYS[1], ARGV[4], t)
redis.call('HSET', KEYS[1], 'ended', format_time(t), 'dispatches', 0, 'dispatched_at', format_time(t))
redis.call('ZADD', KEYS[2], format_time(t + ARGV[2]), ARGV[1] .. ':run')
count(ARGV[3], 'ended:' .. ARGV[6], 1)
mark_changed(ARGV[3], ARGV[1], t, 0)
start_next_scheduled(ARGV[3], KEYS[2], KEYS[1], ARGV[1], t)
return redis.call('HGET', KEYS[1], 'outcome')
