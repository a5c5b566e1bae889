--[[ Note that a waiter has the outcome under its Celery id. After the last waiter, let the run expire.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> due time of its next step
  ARGV  run_id, prefix, waiter, contents_ttl, record_ttl, idempotency_ttl

  Returns the number of waiters left, or nil if the run is gone.
]]
--- @include lib/clock
--- @include lib/guards
--- @include lib/index
--- @include lib/keys
--- @include lib/records
--- @include lib/runs
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, waiter, contents_ttl, record_ttl, idempotency_ttl = unpack(ARGV)

local run = read_fields(run_key, 'parts', 'idempotency_key', 'outcome', 'forget')
if not run.parts then return nil end
if redis.call('HDEL', run_key, 'waiter:' .. waiter) == 1 then
  redis.call('HSET', run_key, 'delivered:' .. waiter, 1)
  redis.call('HINCRBY', run_key, 'waiting', -1)
end
local waiting = tonumber(redis.call('HGET', run_key, 'waiting'))
if waiting <= 0 and run.outcome and run.forget then
  delete_run(due_key, run_key, prefix, run_id, run.parts, run.idempotency_key)
elseif waiting <= 0 and run.outcome then
  redis.call('ZREM', due_key, run_id .. ':run')
  redis.call('EXPIRE', run_key, record_ttl)
  expire_in_index(prefix, run_id, read_index_fields(run_key), record_ttl, now())
  if has_key(run.idempotency_key, run_id) then
    expire_guard(prefix, run.idempotency_key, idempotency_ttl, now())
  end
  for n = 0, tonumber(run.parts) - 1 do
    local part_key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    local job_id = redis.call('HGET', part_key, 'job')
    if job_id then
      redis.call('EXPIRE', make_key(prefix, 'owner', string.lower(job_id)), math.max(record_ttl, MARK_TTL))
    end
    redis.call('EXPIRE', part_key, record_ttl)
    redis.call('EXPIRE', make_key(prefix, 'job', part_id), record_ttl)
    redis.call('EXPIRE', make_key(prefix, 'contents', part_id), contents_ttl)
  end
end
return waiting
