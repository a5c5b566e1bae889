-- Job slots of an account.
--- @include lib/clock
--- @include lib/due
--- @include lib/records

-- A part may have a job at the API now, where only so many may run.
local function grant_slot(prefix, part, part_id, account, t)
  redis.call('ZADD', prefix .. ':slots:' .. account, format_time(t), part_id)
  redis.call('HSET', part, 'slot', account)
  redis.call('HDEL', part, 'slot_queue')
end

-- Grant the free slots to the parts that have waited longest, and wake them, except `mine`, whose step is at work.
local function grant_free_slots(prefix, due, account, limit, t, mine)
  local waiters = prefix .. ':slot_waiters:' .. account
  local free_slots = limit - redis.call('ZCARD', prefix .. ':slots:' .. account)
  while free_slots > 0 do
    local part_id = redis.call('ZPOPMIN', waiters)[1]
    if not part_id then return end
    local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
    local part = make_part_key(prefix, run_id, n)
    local p = redis.call('HMGET', part, 'state', 'slot')
    if p[1] == 'queued' and not p[2] then
      grant_slot(prefix, part, part_id, account, t)
      free_slots = free_slots - 1
      if part_id ~= mine then make_due(due, part, part_id, t, 0) end
    end
  end
end

-- A part's job runs no more, or will never be bought; or it is to be bought by another account.
local function release_slot(prefix, due, part, part_id, t)
  local p = redis.call('HMGET', part, 'slot', 'slot_queue')
  if p[2] then redis.call('ZREM', prefix .. ':slot_waiters:' .. p[2], part_id) end
  if p[1] then redis.call('ZREM', prefix .. ':slots:' .. p[1], part_id) end
  redis.call('HDEL', part, 'slot', 'slot_queue')
  if p[1] then grant_free_slots(prefix, due, p[1], tonumber(redis.call('GET', prefix .. ':slot_limit:' .. p[1]) or 0), t) end
end

-- Return whether the part has a slot or is granted one. If not, the part waits for a slot.
local function acquire_slot(prefix, due, part, part_id, account, limit, t)
  redis.call('SET', prefix .. ':slot_limit:' .. account, limit)
  local p = redis.call('HMGET', part, 'slot', 'slot_queue')
  if (p[1] or p[2] or account) ~= account then release_slot(prefix, due, part, part_id, t) end
  if redis.call('HEXISTS', part, 'slot') == 1 then return true end
  redis.call('ZADD', prefix .. ':slot_waiters:' .. account, 'NX', format_time(t), part_id)
  redis.call('HSET', part, 'slot_queue', account)
  grant_free_slots(prefix, due, account, limit, t, part_id)
  return redis.call('HEXISTS', part, 'slot') == 1
end
