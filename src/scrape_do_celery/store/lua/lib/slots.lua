-- Job slots of an account: acquire, grant and release them, in order.
--- @include lib/clock
--- @include lib/due
--- @include lib/keys
--- @include lib/records

-- Grant a slot to a part: from now on it may have a job at the API, if the number of running jobs is limited.
local function grant_slot(prefix, part_key, part_id, account, t)
  redis.call('ZADD', make_key(prefix, 'slots', account), format_time(t), part_id)
  redis.call('HSET', part_key, 'slot', account)
  redis.call('HDEL', part_key, 'slot_queue')
end

-- Grant the free slots to the parts that have waited longest, and wake them. The step of the part `own_id` is
-- at work, so it needs no wake-up.
local function grant_free_slots(prefix, due_key, account, limit, t, own_id)
  local waiters_key = make_key(prefix, 'slot_waiters', account)
  local free_slots = limit - redis.call('ZCARD', make_key(prefix, 'slots', account))
  while free_slots > 0 do
    local part_id = redis.call('ZPOPMIN', waiters_key)[1]
    if not part_id then return end
    local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
    local part_key = make_part_key(prefix, run_id, n)
    local part = read_fields(part_key, 'state', 'slot')
    if part.state == 'queued' and not part.slot then
      grant_slot(prefix, part_key, part_id, account, t)
      free_slots = free_slots - 1
      if part_id ~= own_id then make_due(due_key, part_key, part_id, t, 0) end
    end
  end
end

-- Release the slot of a part, or remove the part from the waiters for a slot. Its job has ended or will never
-- be bought, or another account buys it.
local function release_slot(prefix, due_key, part_key, part_id, t)
  local part = read_fields(part_key, 'slot', 'slot_queue')
  if part.slot_queue then redis.call('ZREM', make_key(prefix, 'slot_waiters', part.slot_queue), part_id) end
  if part.slot then redis.call('ZREM', make_key(prefix, 'slots', part.slot), part_id) end
  redis.call('HDEL', part_key, 'slot', 'slot_queue')
  if part.slot then
    local limit = tonumber(redis.call('GET', make_key(prefix, 'slot_limit', part.slot)) or 0)
    grant_free_slots(prefix, due_key, part.slot, limit, t)
  end
end

-- Return whether the part has a slot or is granted one. If not, the part waits for a slot.
local function acquire_slot(prefix, due_key, part_key, part_id, account, limit, t)
  redis.call('SET', make_key(prefix, 'slot_limit', account), limit)
  local part = read_fields(part_key, 'slot', 'slot_queue')
  if (part.slot or part.slot_queue or account) ~= account then
    release_slot(prefix, due_key, part_key, part_id, t)
  end
  if redis.call('HEXISTS', part_key, 'slot') == 1 then return true end
  redis.call('ZADD', make_key(prefix, 'slot_waiters', account), 'NX', format_time(t), part_id)
  redis.call('HSET', part_key, 'slot_queue', account)
  grant_free_slots(prefix, due_key, account, limit, t, part_id)
  return redis.call('HEXISTS', part_key, 'slot') == 1
end
