-- Deletion of a run.
--- @include lib/records

-- Return whether an idempotency key still leads to a run. An expired key may belong to another run.
local function has_key(idempotency_key, run_id)
  return idempotency_key and string.sub(redis.call('GET', idempotency_key) or '', 1, #run_id + 1) == run_id .. ' '
end

-- Delete an ended run. A mark stays for a week: a message that comes again must not buy again.
local function delete_run(due, run, prefix, run_id, parts, idempotency_key)
  for n = 0, tonumber(parts) - 1 do
    local key, suffix = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    local job = redis.call('HGET', key, 'job')
    if job then redis.call('EXPIRE', prefix .. ':owner:' .. string.lower(job), MARK_TTL) end
    redis.call('DEL', key, prefix .. ':job:' .. suffix, prefix .. ':contents:' .. suffix,
      prefix .. ':provisional:' .. suffix)
  end
  if has_key(idempotency_key, run_id) then redis.call('DEL', idempotency_key) end
  redis.call('ZREM', due, run_id .. ':run')
  redis.call('ZREM', prefix .. ':changed', run_id)
  local marks = {run}
  for _, field in ipairs(redis.call('HKEYS', run)) do
    local waiter = string.match(field, '^waiter:(.*)$') or string.match(field, '^delivered:(.*)$')
    if waiter and waiter ~= run_id then marks[#marks + 1] = prefix .. ':run:' .. waiter end
  end
  redis.call('DEL', run)
  for _, key in ipairs(marks) do
    if redis.call('EXISTS', key) == 0 then
      redis.call('HSET', key, 'forgotten', 1)
      redis.call('EXPIRE', key, MARK_TTL)
    end
  end
end
