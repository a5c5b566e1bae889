-- Job slots of an account: acquire, grant and release them, in turns and in order.
--- @include lib/clock
--- @include lib/due
--- @include lib/keys
--- @include lib/records
--- @include lib/turns

-- Grant a slot to a part: from now on it may have a job at the API, if the number of running jobs is limited.
local function grant_slot(prefix, part_key, part_id, account, t)
  local had_slot = redis.call('HEXISTS', part_key, 'slot') == 1
  redis.call('ZADD', make_key(prefix, 'slots', account), format_time(t), part_id)
  redis.call('HSET', part_key, 'slot', account)
  redis.call('HDEL', part_key, 'slot_queue')
  if not had_slot then charge_slot(prefix, account, part_key, part_id) end
end

-- Take the part that gets the next slot out of the waiters. Return the part.
local function pop_next_waiter(prefix, account, holding, for_others)
  if has_turns(prefix, account) then
    local part_id, key = find_next_waiter(prefix, account, holding, for_others)
    if part_id then drop_waiter(prefix, account, part_id, key) end
    -- The search may have ended the last turns.
    if part_id or has_turns(prefix, account) then return part_id, key end
  end
  return redis.call('ZPOPMIN', make_key(prefix, 'slot_waiters', account))[1]
end

-- Grant the free slots to the parts whose turn it is, and wake them. While turns are kept, the last free slot
-- is for fairness keys that hold none. The step of the part `own_id` is at work, so it needs no wake-up.
local function grant_free_slots(prefix, due_key, account, limit, t, own_id)
  local free_slots = limit - redis.call('ZCARD', make_key(prefix, 'slots', account))
  local holding
  while free_slots > 0 do
    if not holding and has_turns(prefix, account) then holding = list_holding_keys(prefix, account) end
    local part_id, key = pop_next_waiter(prefix, account, holding, limit > 1 and free_slots == 1)
    if not part_id then return end
    local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
    local part_key = make_part_key(prefix, run_id, n)
    local part = read_fields(part_key, 'state', 'slot')
    if part.state == 'queued' and not part.slot then
      grant_slot(prefix, part_key, part_id, account, t)
      free_slots = free_slots - 1
      if key then holding[key] = true end
      if part_id ~= own_id then make_due(due_key, part_key, part_id, t, 0) end
    end
  end
end

-- Release the slot of a part, or remove the part from the waiters for a slot. Its job has ended or will never
-- be bought, or another account buys it.
local function release_slot(prefix, due_key, part_key, part_id, t)
  local part = read_fields(part_key, 'slot', 'slot_queue', 'slot_price')
  local account = part.slot or part.slot_queue
  if not account then return end
  if part.slot_queue then redis.call('ZREM', make_key(prefix, 'slot_waiters', part.slot_queue), part_id) end
  if part.slot then redis.call('ZREM', make_key(prefix, 'slots', part.slot), part_id) end
  redis.call('HDEL', part_key, 'slot', 'slot_queue', 'slot_price')
  drop_share(prefix, account, part_id, part.slot and part.slot_price)
  if part.slot then
    local limit = tonumber(redis.call('GET', make_key(prefix, 'slot_limit', account)) or 0)
    grant_free_slots(prefix, due_key, account, limit, t)
  end
end

-- Grant a slot to a part whose job may have been bought already, however many others run.
local function force_slot(prefix, part_key, part_id, account, amount, t)
  grant_slot(prefix, part_key, part_id, account, t)
  settle_charge(prefix, account, part_key, part_id, amount)
end

-- Return whether the part has a slot or is granted one. If not, the part waits for a slot. `amount` is the
-- price of its job in milli-credits.
local function acquire_slot(prefix, due_key, part_key, part_id, account, limit, amount, t)
  redis.call('SET', make_key(prefix, 'slot_limit', account), limit)
  local part = read_fields(part_key, 'slot', 'slot_queue')
  if (part.slot or part.slot_queue or account) ~= account then
    release_slot(prefix, due_key, part_key, part_id, t)
  end
  if redis.call('HEXISTS', part_key, 'slot') == 0 then
    join_waiters(prefix, account, part_key, part_id, amount, t)
    redis.call('HSET', part_key, 'slot_queue', account)
    grant_free_slots(prefix, due_key, account, limit, t, part_id)
  end
  local has_slot = redis.call('HEXISTS', part_key, 'slot') == 1
  if has_slot then settle_charge(prefix, account, part_key, part_id, amount) end
  return has_slot
end
