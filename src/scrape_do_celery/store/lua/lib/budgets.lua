-- Budgets: reserve the price of a purchase with its intent, settle it at its end, wake the parts that wait.
-- Amounts are whole thousandths of a credit (`mc`). A scope is `account:<id>` or `tag:<tag>`.
--- @include lib/clock
--- @include lib/due
--- @include lib/keys
--- @include lib/purchases
--- @include lib/records
--- @include lib/spend

local MONTHS = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

-- Return the number of days of a month; of a year without a month.
local function count_days(year, month)
  local leap_day = (year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0)) and 1 or 0
  if not month then return 365 + leap_day end
  return MONTHS[month] + (month == 2 and leap_day or 0)
end

-- Return the names of the day and of the month (UTC) of a day that is counted from the epoch. The server's
-- Lua has no calendar.
local function name_periods(day)
  local year, month = EPOCH_YEAR, 1
  while day >= count_days(year) do
    day = day - count_days(year)
    year = year + 1
  end
  while day >= count_days(year, month) do
    day = day - count_days(year, month)
    month = month + 1
  end
  local month_name = string.format('%04d-%02d', year, month)
  return {day = string.format('%s-%02d', month_name, day + 1), month = month_name}
end

-- Return when the period that holds a day ends.
local function end_of_period(period, day)
  local name, next_day = name_periods(day)[period], day + 1
  while name_periods(next_day)[period] == name do next_day = next_day + 1 end
  return next_day * SECONDS_PER_DAY
end

-- Return the scopes of a purchase.
local function list_scopes(account, tags)
  local scopes = {'account:' .. account}
  for tag in string.gmatch(tags or '', '%S+') do scopes[#scopes + 1] = 'tag:' .. tag end
  return scopes
end

-- Return what limits a scope: `day` and `month` as amounts, and `stop` if nothing is bought now.
local function read_limits(prefix, scope)
  local values = redis.call('HMGET', make_key(prefix, 'budgets'), scope .. ' day', scope .. ' month',
    scope .. ' stop')
  return {day = tonumber(values[1] or nil), month = tonumber(values[2] or nil), stop = values[3]}
end

-- Return the spent and the reserved amount of a scope in a period.
local function read_spend(prefix, period_name, scope)
  local values = redis.call('HMGET', make_key(prefix, 'spend', period_name), scope .. ' spent',
    scope .. ' reserved')
  return tonumber(values[1] or 0), tonumber(values[2] or 0)
end

-- Return why an amount must not be reserved, or nil. `is_final` tells that waiting does not help.
local function find_refusal(prefix, run, run_id, account, amount, day)
  local found
  local function refuse(scope, period, limit, spent, reserved, is_final)
    if found and (found.is_final or not is_final) then return end
    found = {scope = scope, period = period, limit = limit, spent = spent, reserved = reserved,
      amount = amount, is_final = is_final}
  end
  local names = name_periods(day)
  for _, scope in ipairs(list_scopes(account, run.tags)) do
    local limits = read_limits(prefix, scope)
    if limits.stop then refuse(scope, 'stop', 0, 0, 0, false) end
    for period, name in pairs(names) do
      if limits[period] then
        local spent, reserved = read_spend(prefix, name, scope)
        if spent + reserved + amount > limits[period] then
          refuse(scope, period, limits[period], spent, reserved, amount > limits[period])
        end
      end
    end
  end
  if run.max_mc then
    local spent, reserved = tonumber(run.spent_mc or 0), tonumber(run.reserved_mc or 0)
    if spent + reserved + amount > tonumber(run.max_mc) then
      -- The other parts of the run may cost less than they reserved.
      refuse('run:' .. run_id, 'run', tonumber(run.max_mc), spent, reserved, reserved == 0)
    end
  end
  return found
end

-- Add to amounts of scopes in the day and the month. Tags without a limit are counted only while the
-- period has room for them: a tag for each run must not fill the store.
--
-- Return the periods and tags that do not count the amounts. A limit that is set later lets them count. A
-- purchase that they have not counted must not free the reservations of others. At its settlement,
-- `uncounted` is what this function has returned at its reservation.
local function add_spend(prefix, scopes, day, amounts, uncounted)
  local missing = {}
  for _, name in pairs(name_periods(day)) do
    local key = make_key(prefix, 'spend', name)
    for i, scope in ipairs(scopes) do
      local is_counted = i == 1 or redis.call('HEXISTS', key, scope .. ' reserved') == 1
      if not is_counted then
        local limits = read_limits(prefix, scope)
        local tags = tonumber(redis.call('HGET', key, 'tags') or 0)
        is_counted = limits.day or limits.month or tags < MAX_SPEND_TAGS
        if is_counted then
          redis.call('HSET', key, scope .. ' reserved', 0)
          redis.call('HINCRBY', key, 'tags', 1)
        end
      end
      local entry = name .. '/' .. scope
      if not is_counted then missing[#missing + 1] = entry end
      local has_reserved = not string.find(uncounted or '', ' ' .. entry .. ' ', 1, true)
      for kind, amount in pairs(amounts) do
        if is_counted and amount ~= 0 and (has_reserved or kind ~= 'reserved') then
          redis.call('HINCRBY', key, scope .. ' ' .. kind, format_amount(amount))
        end
      end
    end
    redis.call('EXPIRE', key, SPEND_TTL)
  end
  return #missing > 0 and ' ' .. table.concat(missing, ' ') .. ' ' or ''
end

-- Return the amount that a scope has left now.
local function find_room(prefix, scope, day)
  local run_id = string.match(scope, '^run:(.*)$')
  if run_id then
    local run = read_fields(make_key(prefix, 'run', run_id), 'max_mc', 'spent_mc', 'reserved_mc')
    -- If no part of the run has a reservation, no later settlement wakes those that wait.
    if tonumber(run.reserved_mc or 0) == 0 then return math.huge end
    return tonumber(run.max_mc or 0) - tonumber(run.spent_mc or 0) - tonumber(run.reserved_mc)
  end
  local limits, room = read_limits(prefix, scope), math.huge
  if limits.stop then return 0 end
  for period, name in pairs(name_periods(day)) do
    if limits[period] then
      local spent, reserved = read_spend(prefix, name, scope)
      room = math.min(room, limits[period] - spent - reserved)
    end
  end
  return room
end

-- Wake the parts that wait for a scope and fit into its room, the first one first. A part that was woken
-- before has its step message already. A part that a stop held back asks anew, so that it shows its reason;
-- if it does not fit, it takes no room from the parts behind it.
local function wake_budget_line(prefix, due_key, scope, day, t)
  local line_key = make_key(prefix, 'budget_waiters', scope)
  local waiting = redis.call('ZRANGE', line_key, 0, BUDGET_WAKES - 1)
  if #waiting == 0 then return end
  local room = find_room(prefix, scope, day)
  for _, part_id in ipairs(waiting) do
    local part_key = make_key(prefix, 'part', part_id)
    local part = read_fields(part_key, 'state', 'budget', 'lease', 'due_at')
    local amount, what = string.match(part.budget or '0 ', '^(%S+) (%S*)')
    amount = tonumber(amount)
    if part.state ~= 'queued' then
      redis.call('ZREM', line_key, part_id)
    elseif amount <= room or (what == 'stop' and room > 0) then
      if amount <= room then room = room - amount end
      -- A step that has the part reads the budget itself.
      local is_asleep = tonumber(part.lease or 0) <= 0 and tonumber(part.due_at or 0) > t
      if is_asleep then make_due(due_key, part_key, part_id, t, 0) end
    end
  end
end

-- Return the scope of the budget that a part waits for, or nil.
local function find_line(part_key)
  return string.match(redis.call('HGET', part_key, 'budget') or '', '^%S+ %S+ (.*)$')
end

-- Take a part out of the line for a budget, if it is in one. Return the scope of that line.
local function drop_from_line(prefix, part_key, part_id)
  local scope = find_line(part_key)
  if not scope then return end
  redis.call('ZREM', make_key(prefix, 'budget_waiters', scope), part_id)
  redis.call('HDEL', part_key, 'budget')
  return scope
end

-- Take a part out of the line for a budget, if it is in one. Other parts may fit in its place.
local function leave_budget_line(prefix, due_key, part_key, part_id, t)
  local scope = drop_from_line(prefix, part_key, part_id)
  if not scope then return end
  wake_budget_line(prefix, due_key, scope, math.floor(t / SECONDS_PER_DAY), t)
end

-- Let a part wait for the budget that refused its amount, until its turn comes or the period ends.
local function wait_for_budget(prefix, due_key, part_key, part_id, refusal, day, t)
  local before = find_line(part_key)
  if before ~= refusal.scope then drop_from_line(prefix, part_key, part_id) end
  local line_key = make_key(prefix, 'budget_waiters', refusal.scope)
  redis.call('ZADD', line_key, 'NX', next_in_order(prefix), part_id)
  redis.call('HSET', part_key, 'budget',
    table.concat({format_amount(refusal.amount), refusal.period, refusal.scope}, ' '))
  local due_at = t + BUDGET_RECHECK
  if refusal.period == 'day' or refusal.period == 'month' then
    due_at = math.min(due_at, end_of_period(refusal.period, day))
  end
  -- A hundred thousand parts that wait must not come at once.
  local ahead = redis.call('ZCOUNT', line_key, '-inf', redis.call('ZSCORE', line_key, part_id))
  make_due(due_key, part_key, part_id, due_at + 0.02 * ahead, 0)
  -- If the part was woken, it held room in its line. It does not take that room: others may fit there.
  if before then wake_budget_line(prefix, due_key, before, day, t) end
end

-- Reserve an amount for a purchase, in the periods of its intent: the part's record has that time already. A
-- hundred thousand parts may wait, and each byte counts.
local function reserve_amount(prefix, run_key, run, part_key, account, amount, intent)
  -- The day of the time as it is written: a time just before midnight may be written as midnight.
  local day = math.floor(tonumber(format_time(intent)) / SECONDS_PER_DAY)
  local uncounted = add_spend(prefix, list_scopes(account, run.tags), day, {reserved = amount})
  set_or_clear(part_key, 'uncounted', uncounted)
  if run.max_mc then redis.call('HINCRBY', run_key, 'reserved_mc', format_amount(amount)) end
  redis.call('HSET', part_key, 'price', format_amount(amount))
end

-- Return the reservation of a part: the amount, its day, and the account that buys.
local function read_reservation(part_key, t)
  local part = read_fields(part_key, 'price', 'account', 'intent', 'uncounted')
  local day = math.floor((part.intent or t) / SECONDS_PER_DAY)
  local amount = tonumber(part.price or 0)
  return {amount = amount, day = day, account = part.account or '', uncounted = part.uncounted}
end

-- Settle a reservation, in the period that it was made in: `charge` is spent, of which `assumed` was not
-- reported. Wake the parts that wait for the rest.
local function settle_reservation(prefix, due_key, run_key, run_id, part_key, reservation, charge, assumed, t)
  local run = read_fields(run_key, 'tags', 'max_mc')
  redis.call('HDEL', part_key, 'price', 'uncounted')
  if reservation.amount == 0 and charge == 0 then return end
  local scopes = list_scopes(reservation.account, run.tags)
  add_spend(prefix, scopes, reservation.day,
    {reserved = -reservation.amount, spent = charge, assumed = assumed}, reservation.uncounted)
  if run.max_mc then
    redis.call('HINCRBY', run_key, 'reserved_mc', format_amount(-reservation.amount))
    redis.call('HINCRBY', run_key, 'spent_mc', format_amount(charge))
    scopes[#scopes + 1] = 'run:' .. run_id
  end
  local today = math.floor(t / SECONDS_PER_DAY)
  for _, scope in ipairs(scopes) do wake_budget_line(prefix, due_key, scope, today, t) end
end

-- Settle the reservation of a part that ends. A purchase in doubt is kept as spent; a void one, and one whose
-- job was searched for and not found, is free. A cost that nobody reported is taken to be the reserved price.
local function settle_ended_part(prefix, due_key, run_key, run_id, part_key, reservation, t)
  local part = read_fields(part_key, 'purchase_status', 'total', 'credits', 'stored_ok', 'stored_failed',
    'reported_failed', 'gone', 'unpriced', 'estimate')
  local status, charge, assumed = part.purchase_status, 0, 0
  -- A part of an older version has no reservation, but its estimate in credits.
  local price = reservation.amount
  if price == 0 then price = (part.estimate or 0) * MC_PER_CREDIT end
  if status == 'confirmed' or status == 'adopted' then
    local function count_of(name) return tonumber(part[name] or 0) end
    local unseen = count_of('total') - count_of('stored_ok')
      - math.max(count_of('stored_failed'), count_of('reported_failed'))
    local unknown = math.max(0, unseen) + count_of('gone') + count_of('unpriced')
    assumed = math.floor(price * math.min(unknown, count_of('total')) / count_of('total'))
    charge = to_mc(part.credits or '') + assumed
  elseif status and status ~= 'not_found' then
    charge, assumed = price, price
  end
  settle_reservation(prefix, due_key, run_key, run_id, part_key, reservation, charge, assumed, t)
end

-- Charge a purchase of another account from now on: a part may go on with another token.
local function move_reservation(prefix, due_key, part_key, account, t)
  local reservation = read_reservation(part_key, t)
  if reservation.amount == 0 or reservation.account == account then return end
  local scopes = list_scopes(reservation.account)
  add_spend(prefix, scopes, reservation.day, {reserved = -reservation.amount})
  add_spend(prefix, list_scopes(account), reservation.day, {reserved = reservation.amount})
  wake_budget_line(prefix, due_key, scopes[1], math.floor(t / SECONDS_PER_DAY), t)
end
