-- The end of a part.
--- @include lib/changes
--- @include lib/clock
--- @include lib/contents
--- @include lib/counters
--- @include lib/due
--- @include lib/ledger
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots

-- Ends a part, whoever holds it. `keys` are part, run, due; `rest` is prefix, redispatch delay, seconds a purchase in doubt
-- counts. Returns how many parts of its run are left.
local function finish_part(keys, part_id, t, outcome, error, stop, purchase_status, rest)
  local part, run, due, prefix = keys[1], keys[2], keys[3], rest[1]
  local run_id = string.match(part_id, '^(.*):')
  store_all_held(prefix, part, part_id)
  local p = redis.call('HMGET', part, 'state', 'credits', 'stored_ok', 'stored_failed', 'gone')
  local state = p[1]
  redis.call('HSET', part, 'state', 'done', 'outcome', outcome, 'lease', 0, 'token', '')
  if error ~= '' then redis.call('HSET', part, 'error', error) end
  if purchase_status ~= '' then redis.call('HSET', part, 'purchase_status', purchase_status) end
  stop_list_polling(part, part_id)
  redis.call('ZREM', due, part_id)
  redis.call('ZREM', prefix .. ':content_expiry', part_id)
  release_slot(prefix, due, part, part_id, t)
  if is_unresolved(state) then close_submit(prefix, due, part, part_id, rest[3], t) end
  write_ledger(prefix, part, part_id)
  for i, name in ipairs({'credits', 'tasks:success', 'tasks:failed', 'tasks:gone'}) do
    local amount = tonumber(p[i + 1] or 0)
    if amount ~= 0 then count(prefix, name, amount) end
  end
  if stop == '1' then
    redis.call('HSET', run, 'skip_unsent', 1)
    for n = 0, tonumber(redis.call('HGET', run, 'parts')) - 1 do
      local key = make_part_key(prefix, run_id, n)
      local other = redis.call('HMGET', key, 'state', 'lease')
      if other[1] == 'queued' and tonumber(other[2] or 0) <= t then make_due(due, key, run_id .. ':' .. n, t, 0) end
    end
  end
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  local left = redis.call('HINCRBY', run, 'left', -1)
  if left == 0 then
    redis.call('HSET', run, 'dispatches', 0, 'dispatched_at', format_time(t))
    redis.call('ZADD', due, format_time(t + rest[2]), run_id .. ':run')
  end
  return left
end
