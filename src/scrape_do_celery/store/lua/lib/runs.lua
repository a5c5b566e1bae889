-- Runs: their options, their keys, their deletion.
--- @include lib/clock
--- @include lib/guards
--- @include lib/index
--- @include lib/keys
--- @include lib/lineage
--- @include lib/records

-- Return a text that tells the options of a run from those of others: a digest if the options are encrypted.
local function options_of(run_key)
  return redis.call('HGET', run_key, 'options_digest') or redis.call('HGET', run_key, 'spec')
end

-- Return whether an idempotency key still leads to a run. An expired key may belong to another run.
local function has_key(idempotency_key, run_id)
  if not idempotency_key then return false end
  return string.sub(redis.call('GET', idempotency_key) or '', 1, #run_id + 1) == run_id .. ' '
end

-- Delete an ended run. A mark stays for `MARK_TTL` seconds: a message that comes again must not buy again.
-- Return another run of its lineage, or nil.
local function delete_run(due_key, run_key, prefix, run_id, part_count, idempotency_key)
  local neighbor = leave_lineage(prefix, run_key)
  for n = 0, tonumber(part_count) - 1 do
    local part_key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    local job_id = redis.call('HGET', part_key, 'job')
    if job_id then redis.call('EXPIRE', make_key(prefix, 'owner', string.lower(job_id)), MARK_TTL) end
    redis.call('DEL', part_key, make_key(prefix, 'job', part_id), make_key(prefix, 'contents', part_id),
      make_key(prefix, 'provisional', part_id), make_key(prefix, 'deliveries', part_id))
  end
  if has_key(idempotency_key, run_id) then redis.call('DEL', idempotency_key) end
  drop_from_index(prefix, run_id, read_index_fields(run_key))
  redis.call('ZREM', due_key, run_id .. ':run')
  redis.call('ZREM', make_key(prefix, 'changed'), run_id)
  -- A message may come again under the id of the run or of a waiter. Each of these ids gets a mark.
  local marks = {run_key}
  for _, field in ipairs(redis.call('HKEYS', run_key)) do
    local waiter = string.match(field, '^waiter:(.*)$') or string.match(field, '^delivered:(.*)$')
    if waiter and waiter ~= run_id then marks[#marks + 1] = make_key(prefix, 'run', waiter) end
  end
  redis.call('DEL', run_key)
  for _, mark_key in ipairs(marks) do
    -- A waiter's id may also be the id of another run, which must stay.
    if redis.call('EXISTS', mark_key) == 0 then
      redis.call('HSET', mark_key, 'forgotten', 1)
      expire_guard(prefix, mark_key, MARK_TTL, now())
    end
  end
  return neighbor
end
