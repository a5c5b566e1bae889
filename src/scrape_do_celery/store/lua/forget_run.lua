-- Frees all that an ended run holds; where somebody is still to be told of its outcome, right after that. One that was to
-- end and cannot, since nobody has its key, is freed as it is.
-- KEYS: run, due
-- ARGV: run id, prefix, names of the encryption keys of the caller, seconds that a stop request is given
-- Returns 1, 0 when it is not there, -1 when it still lives.
--- @include lib/clock
--- @include lib/due
--- @include lib/encryption
--- @include lib/memory
--- @include lib/records
--- @include lib/runs
--- @include lib/schedules
--- @include lib/slots
local run_id, prefix = ARGV[1], ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome', 'idempotency_key', 'waiting', 'stop_requested_at')
if not r[1] then return 0 end
local t = now()
local abandoned = not r[2] and r[5] and t - r[5] >= tonumber(ARGV[4]) and missing_key(KEYS[1], ARGV[3])
if not r[2] and not abandoned then return -1 end
allow_when_full(KEYS[1])
if abandoned then
  for n = 0, tonumber(r[1]) - 1 do
    local key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    release_slot(prefix, KEYS[2], key, part_id, t)
    stop_list_polling(key, part_id)
    redis.call('ZREM', KEYS[2], part_id)
    redis.call('ZREM', prefix .. ':content_expiry', part_id)
  end
  start_next_scheduled(prefix, KEYS[2], KEYS[1], run_id, t)
elseif tonumber(r[4]) > 0 then
  redis.call('HSET', KEYS[1], 'forget', 1)
  return 1
end
delete_run(KEYS[2], KEYS[1], prefix, run_id, r[1], r[3])
return 1
