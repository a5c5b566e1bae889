--[[ Write the intent to buy, before the `POST`.

  KEYS  part  hash  the record of the part
        run   hash  the record of the run
        due   zset  part id -> when the part needs a step
  ARGV  part_id, fence, nonce, lease_seconds, prefix, account,
        groups (of tasks with their prices, as `reserve_price` takes them), marker ("" for none),
        durable_process (id of the server process that loses no write at a restart; "" for none),
        max_jobs (that may run at a time or "" for any number),
        slot_recheck (seconds after which a part that waits for a slot checks for itself),
        will_send ("" if the part ends without a `POST`: then no intent is written),
        strict_digests (of the targets with spaces between), coarse_digests (in the same order),
        if_over_budget ("wait" or "fail", if a budget refuses the amount),
        webhook ("1" if the `POST` carries our webhook)

  Returns a verdict and what belongs to it:
  {"ok", now}: the intent is written.
  {"stale"}: another step holds the part.
  {"stop_reason", which}: the run has a stop request.
  {"skip_unsent"}: the run sends no more parts.
  {"targets_locked", the part that buys them now}.
  {"no_slot"}: other jobs run.
  {"over_budget", "period limit spent reserved amount is_final scope"}: a budget refuses the amount. If
  `is_final` is "1" the part must end; if "0" it waits.
  {"durability_pending"}: the store has just ceased to be durable.
  {"unsent"}: the part was certainly not sent, and may end without a `POST`.
  {"maybe_sent"}: the part is in doubt. An earlier intent may have been lost with the store's last writes,
  or a delivery has proven an earlier purchase.
]]
--- @include lib/budgets
--- @include lib/clock
--- @include lib/due
--- @include lib/epoch
--- @include lib/keys
--- @include lib/ledger
--- @include lib/memory
--- @include lib/prices
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots
--- @include lib/spend
--- @include lib/watched
local part_key, run_key, due_key = KEYS[1], KEYS[2], KEYS[3]
local part_id, fence, nonce, lease_seconds, prefix, account, groups, marker, durable_process,
  max_jobs, slot_recheck, will_send, strict_digests, coarse_digests, if_over_budget,
  webhook = unpack(ARGV)

local part = read_fields(part_key, 'fence', 'state', 'nonce', 'checked_epoch', 'price', 'purchases',
  'proven', 'intent', 'watched')
if part.fence ~= fence then return {'stale'} end
local t = now()
local least, most = read_watched(prefix, t)
if part.state == 'submitting' and part.nonce == nonce then return {'ok', format_time(t)} end
if part.state ~= 'queued' then return {'stale'} end
local run_id, today = string.match(part_id, '^(.*):'), math.floor(t / SECONDS_PER_DAY)
if part.price then
  -- A worker of an older version queued the part again, and left the reservation of its purchase.
  settle_reservation(prefix, due_key, run_key, run_id, part_key, read_reservation(part_key, t), 0, 0, t)
end
local run = read_fields(run_key, 'created', 'epoch', 'stop_reason', 'skip_unsent', 'watched',
  'tags', 'max_mc', 'spent_mc', 'reserved_mc')
-- A part that buys nothing more must end on a full store as well, also if it is searched for first.
if run.stop_reason or run.skip_unsent or will_send == '' then allow_when_full(part_key) end
local epoch, since, settled, since_watched = store_epoch(prefix, t, durable_process)
local is_lost = may_have_been_sent(epoch, since, part.checked_epoch, {run.created, run.epoch})
local maybe_sent = is_lost or part.proven
if run.stop_reason and not maybe_sent then return {'stop_reason', run.stop_reason} end
if run.skip_unsent and not maybe_sent then return {'skip_unsent'} end
if will_send == '' and not maybe_sent then return {'unsent'} end
if not settled then return {'durability_pending'} end

-- Ask before the slot and the lock: a part that waits for a budget must hold neither. A job that may exist is
-- charged in any case.
local amount = reserve_price(prefix, account, groups)
local refusal = not maybe_sent and find_refusal(prefix, run, run_id, account, amount, today)
if refusal then
  local may_fail = refusal.period == 'day' or refusal.period == 'month'
  local is_final = refusal.is_final or (if_over_budget == 'fail' and may_fail)
  release_slot(prefix, due_key, part_key, part_id, t)
  if not is_final then
    -- Release the part here, as for a slot. The wait is no attempt.
    redis.call('HDEL', part_key, 'lease', 'token', 'attempts')
    wait_for_budget(prefix, due_key, part_key, part_id, refusal, today, t)
  end
  return {'over_budget', table.concat({refusal.period, format_amount(refusal.limit),
    format_amount(refusal.spent), format_amount(refusal.reserved), format_amount(amount),
    is_final and '1' or '0', refusal.scope}, ' ')}
end

-- The budgets have room. If the part must wait for a lock or a slot now, it must not stay in the line.
leave_budget_line(prefix, due_key, part_key, part_id, t)

-- Return the other part that holds the lock of a digest.
local function find_lock_holder(digest)
  local holder = redis.call('GET', make_key(prefix, 'target_lock', account, digest))
  if holder and holder ~= part_id and is_unresolved(state_of(prefix, holder)) then return holder end
end

-- The fault lab removes the text between the two marks. The marks stand behind code, because the loader
-- removes each comment that begins a line.
for digest in string.gmatch(strict_digests, '%S+') do -- target lock: begin
  local holder = find_lock_holder(digest)
  if holder then
    local waiters = make_key(prefix, 'target_waiters', account, digest)
    redis.call('ZADD', waiters, 'NX', format_time(t), part_id)
    redis.call('EXPIRE', waiters, TARGET_WAIT_TTL)
    return {'targets_locked', holder}
  end
end -- target lock: end
if max_jobs ~= '' then
  if maybe_sent then
    -- The job may have been bought already, so it is searched for, however many others run.
    force_slot(prefix, part_key, part_id, account, amount, t)
  elseif not acquire_slot(prefix, due_key, part_key, part_id, account, tonumber(max_jobs),
    amount, t) then
    -- Release the part here. If the step did it later, the part's turn might come in between, and be
    -- forgotten.
    redis.call('HDEL', part_key, 'lease', 'token', 'attempts')
    make_due(due_key, part_key, part_id, t, tonumber(slot_recheck))
    redis.call('HSET', part_key, 'due_at', format_time(t + slot_recheck))
    return {'no_slot'}
  end
end
for digest in string.gmatch(strict_digests, '%S+') do
  redis.call('SET', make_key(prefix, 'target_lock', account, digest), part_id)
end
if part.proven then
  -- This purchase is not new: its job is searched for.
  local number = math.max(tonumber(part.purchases or 0), tonumber(part.proven))
  redis.call('HSET', part_key, 'purchases', string.format('%.0f', number))
else
  redis.call('HINCRBY', part_key, 'purchases', 1)
end
-- If the store lost its writes after a purchase, the position of that purchase in the order is unknown.
-- Such a purchase gets the first position, so that no job counts as older.
local order = maybe_sent and 0 or next_in_order(prefix)
redis.call('HSETNX', part_key, 'first_order', order)
redis.call('HSET', part_key, 'account', account, 'purchase_status', 'open',
  'locks', strict_digests, 'strict', strict_digests, 'coarse', coarse_digests, 'order', order)
register_unresolved(prefix, part_key, part_id, account, '+inf', least)
redis.call('SADD', make_key(prefix, 'accounts'), account)
local intent, watched = t, most
if is_lost then
  intent, watched = since, since_watched
elseif maybe_sent then
  intent, watched = tonumber(part.intent or run.created), tonumber(part.watched or run.watched or least)
end
reserve_amount(prefix, run_key, run, part_key, account, amount, intent)
set_or_clear(part_key, 'marker', marker)
-- The troubles of an earlier purchase say nothing about this one.
redis.call('HDEL', part_key, 'attempts', 'refused', 'submit_error', 'in_doubt_since', 'same_targets',
  'webhook', 'hints', 'hints_seen')
if maybe_sent then
  redis.call('HSET', part_key, 'state', 'reconciling', 'intent', format_time(intent),
    'watched', format_time(watched), 'checked_epoch', epoch, 'polls', 0, 'lease', 0, 'token', '')
  if is_lost or redis.call('HEXISTS', part_key, 'first_intent') == 0 then
    redis.call('HSET', part_key, 'first_intent', run.created)
    set_or_clear(part_key, 'first_watched', run.watched or '')
  end
  set_or_clear(part_key, 'intent_lost', is_lost and '1' or '')
  set_or_clear(part_key, 'webhook', part.proven and '1' or '')
  -- Perhaps nothing was sent. The ledger gets its line when the job is found, or is given up as in doubt.
  make_due(due_key, part_key, part_id, t, 0)
  return {'maybe_sent'}
end
redis.call('HSET', part_key, 'state', 'submitting', 'intent', format_time(t), 'nonce', nonce,
  'watched', format_time(most), 'lease', format_time(most + lease_seconds))
if redis.call('HSETNX', part_key, 'first_intent', format_time(t)) == 1 then
  redis.call('HSET', part_key, 'first_watched', format_time(most))
end
redis.call('HDEL', part_key, 'intent_lost')
set_or_clear(part_key, 'webhook', webhook)
redis.call('DEL', make_key(prefix, 'deliveries', part_id))
-- If no restart can be noticed, the next try must search again.
if epoch == 'unknown' then redis.call('HDEL', part_key, 'checked_epoch') end
redis.call('ZADD', due_key, format_time(t + lease_seconds), part_id)
write_ledger(prefix, part_key, part_id)
return {'ok', format_time(t)}
