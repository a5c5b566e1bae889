-- Turns: which fairness key of an account gets the next job slot, by deficit round robin in milli-credits.
-- Rounds are computed, not walked: each purchase moves the turn of its key back by the price. The key with
-- the earliest turn is next. A call looks at few keys, however many wait.
--
-- Parts without a fairness key share the key ''. Unless another key waits or holds a slot, no turns are kept.
--- @include lib/clock
--- @include lib/keys
--- @include lib/records

-- Return the fairness key of a part ('' for none), its weight and its priority.
local function read_share(prefix, part_id)
  local run_id = string.match(part_id, '^(.*):')
  local fair = redis.call('HGET', make_key(prefix, 'run', run_id), 'fair')
  local priority, weight, key = string.match(fair or '0 1 ', '^(%S+) (%S+) (%S*)$')
  return key, tonumber(weight), tonumber(priority)
end

local function has_turns(prefix, account)
  return redis.call('EXISTS', make_key(prefix, 'slot_turns', account)) == 1
end

local function format_turn(turn) return string.format('%.3f', turn) end

-- Return the first waiting part of a fairness key, or nil. A worker of an older version takes the parts that
-- it wakes out of the list of all waiters only, so the line of the key may still have them.
local function find_first_waiter(prefix, account, key)
  local waiters_key = make_key(prefix, 'slot_waiters', account)
  if key == '' then
    return redis.call('ZRANGEBYSCORE', waiters_key, '-inf', '(' .. KEYED_FROM, 'LIMIT', 0, 1)[1]
  end
  local line_key = make_key(prefix, 'slot_line', account, key)
  local part_id = redis.call('ZRANGE', line_key, 0, 0)[1]
  while part_id and not redis.call('ZSCORE', waiters_key, part_id) do
    redis.call('ZREM', line_key, part_id)
    part_id = redis.call('ZRANGE', line_key, 0, 0)[1]
  end
  return part_id
end

-- Take a part out of the waiters.
local function drop_waiter(prefix, account, part_id, key)
  redis.call('ZREM', make_key(prefix, 'slot_waiters', account), part_id)
  if key ~= '' then redis.call('ZREM', make_key(prefix, 'slot_line', account, key), part_id) end
end

-- Give a fairness key its turn. A key that comes stands before the keys that have just bought. It brings no
-- turns along that it did not use. `flag` is 'NX' to leave the turn that a key has, else 'GT'.
local function enter_turns(prefix, account, key, flag)
  local turn = tonumber(redis.call('GET', make_key(prefix, 'new_turn', account)) or 0)
  if key == '' then turn = turn + 1 end
  redis.call('ZADD', make_key(prefix, 'slot_turns', account), flag, format_turn(turn), key)
end

-- Forget a fairness key that neither waits nor holds a slot. The key '' needs turns only beside others.
local function leave_turns(prefix, account, key)
  local turns_key = make_key(prefix, 'slot_turns', account)
  redis.call('ZREM', turns_key, key)
  local others = redis.call('ZCARD', turns_key) - (redis.call('ZSCORE', turns_key, '') and 1 or 0)
  if others == 0 then redis.call('DEL', turns_key, make_key(prefix, 'new_turn', account)) end
end

-- Let a part wait for a slot: by its priority, then in order of arrival.
local function join_waiters(prefix, account, part_key, part_id, amount, t)
  local key, _, priority = read_share(prefix, part_id)
  local waiters_key = make_key(prefix, 'slot_waiters', account)
  local place = format_time(t - priority * PRIORITY_SPAN)
  local flag = find_first_waiter(prefix, account, key) and 'NX' or 'GT'
  if key == '' then
    redis.call('ZADD', waiters_key, 'NX', place, part_id)
    if not has_turns(prefix, account) then return end
  else
    -- A worker of an older version wakes these parts too, after those without a key.
    redis.call('ZADD', waiters_key, 'NX', format_time(KEYED_FROM + t), part_id)
    redis.call('ZADD', make_key(prefix, 'slot_line', account, key), 'NX', place, part_id)
  end
  enter_turns(prefix, account, key, flag)
  redis.call('HSET', part_key, 'slot_price', string.format('%.0f', amount))
end

-- Return the fairness keys whose parts hold a slot, as a set.
local function list_holding_keys(prefix, account)
  local holding = {}
  for _, part_id in ipairs(redis.call('ZRANGE', make_key(prefix, 'slots', account), 0, -1)) do
    local key = read_share(prefix, part_id)
    holding[key] = true
  end
  return holding
end

-- Return the part that gets the next slot and its fairness key, or nil. With `for_others`, only keys that
-- hold no slot get it. The loop passes over no more keys than hold a slot.
local function find_next_waiter(prefix, account, holding, for_others)
  local turns_key, rank = make_key(prefix, 'slot_turns', account), 0
  -- A worker of an older version may have let parts wait.
  if find_first_waiter(prefix, account, '') then enter_turns(prefix, account, '', 'NX') end
  while true do
    local key = redis.call('ZRANGE', turns_key, rank, rank)[1]
    if not key then return end
    local part_id = find_first_waiter(prefix, account, key)
    if part_id and not (for_others and holding[key]) then return part_id, key end
    if part_id or holding[key] then
      rank = rank + 1
    else
      leave_turns(prefix, account, key)
    end
  end
end

-- Return how far a price moves the turn of a fairness key. A job of unknown price counts as one credit.
local function weigh_price(price, weight) return math.max(tonumber(price), MC_PER_CREDIT) / weight end

-- Move the turn of a fairness key.
local function move_turn(prefix, account, key, by)
  local turns_key = make_key(prefix, 'slot_turns', account)
  local turn = redis.call('ZSCORE', turns_key, key)
  if turn then redis.call('ZADD', turns_key, format_turn(turn + by), key) end
end

-- Charge the fairness key of a part for a slot.
local function charge_slot(prefix, account, part_key, part_id)
  local key, weight = read_share(prefix, part_id)
  if key ~= '' then enter_turns(prefix, account, key, 'NX') end
  if not has_turns(prefix, account) then return end
  local part = read_fields(part_key, 'slot_price', 'total')
  -- The price of a part that waited before the first key came is not known yet.
  local price = part.slot_price or part.total * MC_PER_CREDIT
  move_turn(prefix, account, key, weigh_price(price, weight))
  redis.call('HSET', part_key, 'slot_price', string.format('%.0f', price))
end

-- Let the keys that come from now on begin later, after a purchase that moved a turn by `by`. They stand
-- before the key that has bought. Yet each purchase brings them nearer to waiting keys, so that none starves.
local function advance_new_turn(prefix, account, key, by)
  local turns_key = make_key(prefix, 'slot_turns', account)
  local new_turn_key = make_key(prefix, 'new_turn', account)
  local turn = tonumber(redis.call('ZSCORE', turns_key, key) or nil)
  if not turn then return end
  local new_turn = tonumber(redis.call('GET', new_turn_key) or 0)
  local share = by / (redis.call('ZCARD', turns_key) + 1)
  local advanced = math.min(math.max(new_turn, turn - by) + share, turn)
  if advanced > new_turn then redis.call('SET', new_turn_key, format_turn(advanced)) end
end

-- Correct the charge for a slot to the price that its purchase reserves.
local function settle_charge(prefix, account, part_key, part_id, amount)
  local charged = redis.call('HGET', part_key, 'slot_price')
  if not charged then return end
  local key, weight = read_share(prefix, part_id)
  local by = weigh_price(amount, weight)
  move_turn(prefix, account, key, by - weigh_price(charged, weight))
  advance_new_turn(prefix, account, key, by)
  redis.call('HDEL', part_key, 'slot_price')
end

-- Forget the share of a part that has left its slot or the waiters. `charged` is the price of a slot that
-- bought nothing.
local function drop_share(prefix, account, part_id, charged)
  if not has_turns(prefix, account) then return end
  local key, weight = read_share(prefix, part_id)
  drop_waiter(prefix, account, part_id, key)
  if charged then move_turn(prefix, account, key, -weigh_price(charged, weight)) end
  if not find_first_waiter(prefix, account, key) and not list_holding_keys(prefix, account)[key] then
    leave_turns(prefix, account, key)
  end
end
