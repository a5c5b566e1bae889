--[[ Note that a waiter has the outcome under its Celery id. After the last waiter, let the lineage expire.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> due time of its next step
  ARGV  run_id, prefix, waiter, contents_ttl, record_ttl, idempotency_ttl

  Returns the number of waiters left, or nil if the run is gone.
]]
--- @include lib/clock
--- @include lib/guards
--- @include lib/lineage
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
local t = now()
local waiting = tonumber(redis.call('HGET', run_key, 'waiting'))
if waiting <= 0 and run.outcome and run.forget then
  local neighbor = delete_run(due_key, run_key, prefix, run_id, run.parts, run.idempotency_key)
  if neighbor then expire_lineage(prefix, neighbor, contents_ttl, record_ttl, t) end
elseif waiting <= 0 and run.outcome then
  redis.call('ZREM', due_key, run_id .. ':run')
  if has_key(run.idempotency_key, run_id) then
    expire_guard(prefix, run.idempotency_key, idempotency_ttl, t)
  end
  expire_lineage(prefix, run_id, contents_ttl, record_ttl, t)
end
return waiting
