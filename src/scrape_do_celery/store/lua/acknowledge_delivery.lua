-- Notes that the outcome is known under a waiter's Celery id; after the last one the run's life is counted down.
-- KEYS: run, due  ARGV: run id, prefix, waiter, life of contents, of the record, of the idempotency key
-- Returns the number of waiters left, -1 when the run is gone.
--- @include lib/records
--- @include lib/runs
local run_id, prefix = ARGV[1], ARGV[2]
local r = redis.call('HMGET', KEYS[1], 'parts', 'idempotency_key', 'outcome', 'forget')
if not r[1] then return -1 end
if redis.call('HDEL', KEYS[1], 'waiter:' .. ARGV[3]) == 1 then
  redis.call('HSET', KEYS[1], 'delivered:' .. ARGV[3], 1)
  redis.call('HINCRBY', KEYS[1], 'waiting', -1)
end
local waiting = tonumber(redis.call('HGET', KEYS[1], 'waiting'))
if waiting <= 0 and r[3] and r[4] then
  delete_run(KEYS[2], KEYS[1], prefix, run_id, r[1], r[2])
elseif waiting <= 0 and r[3] then
  redis.call('ZREM', KEYS[2], run_id .. ':run')
  redis.call('EXPIRE', KEYS[1], ARGV[5])
  if has_key(r[2], run_id) then redis.call('EXPIRE', r[2], ARGV[6]) end
  for n = 0, tonumber(r[1]) - 1 do
    local key = make_part_key(prefix, run_id, n)
    local job = redis.call('HGET', key, 'job')
    if job then redis.call('EXPIRE', prefix .. ':owner:' .. string.lower(job), math.max(ARGV[5], MARK_TTL)) end
    redis.call('EXPIRE', key, ARGV[5])
    redis.call('EXPIRE', prefix .. ':job:' .. run_id .. ':' .. n, ARGV[5])
    redis.call('EXPIRE', prefix .. ':contents:' .. run_id .. ':' .. n, ARGV[4])
  end
end
return waiting
