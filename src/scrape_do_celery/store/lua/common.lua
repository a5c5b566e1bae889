-- Put before every script: the one clock, and names of keys that a script has to find by itself.
local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

local function format_time(t) return string.format('%.4f', t) end

local function part_key(prefix, run_id, n) return prefix .. ':part:' .. run_id .. ':' .. n end

-- Add to a counter of `P:totals`. An error of the counter must not fail the script, so it is ignored.
local function count(prefix, name, amount) redis.pcall('HINCRBYFLOAT', prefix .. ':totals', name, amount) end

-- For how long a message of what was decided, or has ended, may come again.
local AGAIN = 604800

-- Return whether an idempotency key still leads to a run. An expired key may belong to another run.
local function has_key(idempotency_key, run_id)
  return idempotency_key and string.sub(redis.call('GET', idempotency_key) or '', 1, #run_id + 1) == run_id .. ' '
end

-- Delete an ended run. A mark stays for a week: a message that comes again must not buy again.
local function delete_run(due, run, prefix, run_id, parts, idempotency_key)
  for n = 0, tonumber(parts) - 1 do
    local key, suffix = part_key(prefix, run_id, n), run_id .. ':' .. n
    local job = redis.call('HGET', key, 'job')
    if job then redis.call('EXPIRE', prefix .. ':owner:' .. string.lower(job), 604800) end
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
      redis.call('EXPIRE', key, AGAIN)
    end
  end
end

-- Whoever shows runs is to be told of this one, within so many seconds.
local CHANGE_DELAY = 5
local function mark_changed(prefix, run_id, t, within) redis.call('ZADD', prefix .. ':changed', 'LT', format_time(t + within), run_id) end

-- Set a field of a part, or clear the field if the value is empty: a hundred thousand parts may wait. A job id may be 0.
local function set_or_clear(part, field, value)
  if (value == '0' and field ~= 'job') or value == '' then
    redis.call('HDEL', part, field)
  else
    redis.call('HSET', part, field, value)
  end
end

local function stop_list_polling(part, part_id)
  local key = redis.call('HGET', part, 'poll_set')
  if key then
    redis.call('ZREM', key, part_id)
    redis.call('HDEL', part, 'poll_set')
  end
end

-- Mark a part id to be looked at. Its record gets the nominal time. The dispatcher publishes a message `redispatch_after`
-- seconds later at the latest, which leaves the caller that long to publish by itself.
local function make_due(due, part, part_id, t, redispatch_after)
  stop_list_polling(part, part_id)
  redis.call('HSET', part, 'due_at', format_time(t))
  redis.call('HDEL', part, 'dispatches')
  redis.call('ZADD', due, format_time(t + redispatch_after), part_id)
end

-- Leaves a part id whose job runs to whoever looks at the running jobs of its account: from now on it is not in `due`.
local function poll_by_list(prefix, account, due, part, part_id, t)
  local key = prefix .. ':poll_set:' .. account
  redis.call('HSET', part, 'due_at', format_time(t), 'poll_set', key)
  redis.call('HDEL', part, 'dispatches')
  redis.call('ZREM', due, part_id)
  redis.call('ZADD', key, format_time(t), part_id)
  redis.call('SADD', prefix .. ':accounts', account)
end

-- Hands running jobs whose time has come over, to be looked at each by itself; the caller has `redispatch_after` seconds to publish for
-- them by itself. Returns which.
local function move_to_due(poll_set_key, due, prefix, until_, t, redispatch_after, limit)
  local found = redis.call('ZRANGEBYSCORE', poll_set_key, '-inf', until_, 'LIMIT', 0, limit)
  for _, part_id in ipairs(found) do
    local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
    local part = part_key(prefix, run_id, n)
    redis.call('ZREM', poll_set_key, part_id)
    -- Its record may be gone.
    if redis.call('HGET', part, 'poll_set') == poll_set_key then make_due(due, part, part_id, t, redispatch_after) end
  end
  return found
end

-- Return the store epoch, when it began, and whether its durability is settled. A new epoch begins when the server
-- process changes (restart or failover), unless the previous process synced every write. Writes of an older epoch may be
-- missing. `durable` is '1' or '' if the caller knows whether the present process syncs every write, else nil. A server
-- that does not tell its id may have been restarted at any time.
-- The third value is false for `DURABILITY_DELAY` seconds after a process has ceased to be durable: that note itself is
-- written without a sync, and an intent written beside it could be lost together with it.
local DURABILITY_DELAY = 3
local function store_epoch(prefix, t, durable)
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  if not id then return 'unknown', t, true end
  local previous = redis.call('GET', prefix .. ':epoch') or ''
  -- `durable_mark` is '1' while the process is durable, else the time since when it is not.
  local known, since, epoch, durable_mark = string.match(previous, '^(%S+) (%S+) (%S+) (%S+)$')
  if known ~= id then
    -- A store without a previous note may have lost just that. A server may come back, so its id alone names no epoch.
    if durable_mark ~= '1' then since, epoch = format_time(t), id .. '@' .. format_time(t) end
    durable_mark = '0'
  end
  if durable == '1' then
    durable_mark = '1'
  elseif durable and durable_mark == '1' then
    durable_mark = format_time(t)
  end
  local current = table.concat({id, since, epoch, durable_mark}, ' ')
  if current ~= previous then redis.call('SET', prefix .. ':epoch', current) end
  return epoch, tonumber(since), durable_mark == '1' or t - durable_mark >= DURABILITY_DELAY
end

-- Return the short form of an epoch that a run keeps in its record.
local function epoch_tag(epoch) return string.sub(epoch, 1, 6) .. (string.match(epoch, '@.*') or '') end

-- Whether a queued part may have been bought all the same: its intent was lost with the last writes of the store.
-- `checked` is the loss after which its job was looked for; `r` is when its run was made, and in which epoch: two
-- servers' times are not compared where that is known.
local function may_have_been_sent(epoch, since, checked, r)
  local created, run_epoch = r[1], r[2]
  if checked == epoch then return false end
  if not run_epoch then return created and tonumber(created) < since end
  return epoch == 'unknown' or run_epoch ~= epoch_tag(epoch)
end

-- Allow this script to write although the server is full. Redis checks memory only before the first write that may need
-- memory; HDEL needs none. Use for state changes only: new runs and contents stay refused.
local function allow_when_full(hash) redis.call('HDEL', hash, '') end

-- Notes that values of a run may be encrypted with a key, by its name; '' for none.
local function note_encryption_key(prefix, run, name, t)
  if name == '' then return end
  local held = redis.call('HGET', run, 'key')
  if not held then
    redis.call('HSET', run, 'key', name)
  elseif not string.find(' ' .. held .. ' ', ' ' .. name .. ' ', 1, true) then
    redis.call('HSET', run, 'key', held .. ' ' .. name)
  end
  redis.call('ZADD', prefix .. ':encryption_keys', format_time(t), name)
end

-- Return the name of a key that values of a run are encrypted with and that is not among `key_names` (spaces between).
local function missing_key(run, key_names)
  for name in string.gmatch(redis.call('HGET', run, 'key') or '', '%S+') do
    if not string.find(' ' .. key_names .. ' ', ' ' .. name .. ' ', 1, true) then return name end
  end
end

-- Return what tells the options of a run from those of others: a digest if the options are encrypted.
local function options_of(run) return redis.call('HGET', run, 'options_digest') or redis.call('HGET', run, 'spec') end

local function is_unresolved(state) return state == 'submitting' or state == 'reconciling' end

local function state_of(prefix, part_id)
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  return redis.call('HGET', part_key(prefix, run_id, n), 'state')
end

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
    local part = part_key(prefix, run_id, n)
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

-- Releases the target locks of a part. The next part with the same targets may buy. A part that was bought by an earlier
-- version holds the lock of its fingerprint alone.
local function release_target_lock(prefix, due, part, part_id, account, t)
  local p = redis.call('HMGET', part, 'fingerprint', 'locks')
  for digest in string.gmatch(p[2] or p[1], '%S+') do
    local lock = prefix .. ':target_lock:' .. account .. ':' .. digest
    local waiters = prefix .. ':target_waiters:' .. account .. ':' .. digest
    if redis.call('GET', lock) == part_id then redis.call('DEL', lock) end
    local woken, next_one = false, redis.call('ZPOPMIN', waiters)[1]
    while next_one and not woken do
      if state_of(prefix, next_one) == 'queued' then
        local run_id, n = string.match(next_one, '^(.*):([^:]*)$')
        make_due(due, part_key(prefix, run_id, n), next_one, t, 0)
        woken = true
      else
        next_one = redis.call('ZPOPMIN', waiters)[1]
      end
    end
  end
  redis.call('HDEL', part, 'locks')
end

-- Counts intents and first sightings of jobs, in one order. No clock does: it may be set back, or be another server's.
local function next_in_order(prefix) return redis.call('INCR', prefix .. ':order') end

-- The registers of unresolved purchases that a part's targets have, and its entry in each: a key by a coarse digest, and
-- the present purchase with the strict digest of the same URLs and its place in the order. A part with equal targets has
-- digests of its distinct targets as well: a server may answer them with one task each.
local function purchase_entries(prefix, part, part_id, account)
  local p, strict, out = redis.call('HMGET', part, 'purchases', 'strict', 'coarse', 'order'), {}, {}
  for digest in string.gmatch(p[2] or '', '%S+') do strict[#strict + 1] = digest end
  for coarse in string.gmatch(p[3] or '', '%S+') do
    local entry = table.concat({part_id .. ':' .. (p[1] or '0'), strict[#out + 1], p[4] or '0'}, ' ')
    out[#out + 1] = {prefix .. ':unresolved:' .. account .. ':' .. coarse, entry}
  end
  return out
end

-- Registers a purchase until a moment under the coarse digests of its targets. A later purchase of similar targets reads
-- there that a job may belong to this one.
local function register_unresolved(prefix, part, part_id, account, until_, t)
  for _, one in ipairs(purchase_entries(prefix, part, part_id, account)) do
    redis.call('ZREMRANGEBYSCORE', one[1], '-inf', format_time(t))
    redis.call('ZADD', one[1], until_, one[2])
    redis.call('EXPIRE', one[1], 4 * 86400)
  end
end

-- Close a submit. A purchase that was never found may still appear: for so many seconds nothing with the same targets is
-- taken for another's; for an hour, where two full listings had not shown it.
local function close_submit(prefix, due, part, part_id, seconds, t)
  local p = redis.call('HMGET', part, 'purchase_status', 'account')
  local account = p[2] or ''
  if p[1] == 'in_doubt' or p[1] == 'not_found' then
    local life = tonumber(seconds)
    if p[1] == 'not_found' then life = math.min(life, 3600) end
    register_unresolved(prefix, part, part_id, account, format_time(t + life), t)
  else
    for _, one in ipairs(purchase_entries(prefix, part, part_id, account)) do redis.call('ZREM', one[1], one[2]) end
  end
  release_target_lock(prefix, due, part, part_id, account, t)
  redis.call('HDEL', part, 'strict', 'coarse', 'order')
  if p[1] == 'confirmed' or p[1] == 'adopted' then redis.call('HDEL', part, 'first_order') end
end

-- Write the present purchase of a part into the ledger, from its record. A void purchase is struck out.
local function write_ledger(prefix, part, part_id)
  local p = redis.call('HMGET', part, 'intent', 'purchases', 'purchase_status', 'total', 'estimate', 'job', 'credits', 'outcome')
  if not p[1] or not p[3] then return end
  local key, field = string.format('%s:ledger:%d', prefix, math.floor(p[1] / 86400)), part_id .. ':' .. p[2]
  if p[3] == 'void' then
    redis.call('HDEL', key, field)
    -- Said once: what is left are the purchases before it.
    redis.call('HDEL', part, 'purchase_status')
    if redis.call('HINCRBY', part, 'purchases', -1) == 0 then redis.call('HDEL', part, 'first_intent', 'account') end
  else
    redis.call('HSET', key, field,
      table.concat({p[1], p[3], p[4], p[5] or '0', p[6] or '', p[7] or '0', p[8] or ''}, ' '))
    redis.call('EXPIRE', key, 91 * 86400)
  end
end

-- Stores what an earlier answer held of a task, if nobody has stored the task. What is held is a failure with a page, and
-- counts as one.
local function store_held(held, contents, part, position)
  local h = redis.call('HMGET', held, position, position .. ':credits')
  if not h[1] or redis.call('HSETNX', contents, position, h[1]) == 0 then return false end
  redis.call('HINCRBY', part, 'stored_failed', 1)
  if h[2] and h[2] ~= '0' then redis.call('HINCRBYFLOAT', part, 'credits', h[2]) end
  return true
end

-- Stores all that is held of a part which ends: it is paid for, and no later answer will come.
local function store_all_held(prefix, part, part_id)
  local held = prefix .. ':provisional:' .. part_id
  for _, field in ipairs(redis.call('HKEYS', held)) do
    if string.match(field, '^%d+$') then store_held(held, prefix .. ':contents:' .. part_id, part, field) end
  end
  redis.call('DEL', held)
end

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
      local key = part_key(prefix, run_id, n)
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

-- Write the stop request of a live run, unless it has one. End the parts that were certainly not sent with this outcome.
-- Returns how many parts are left, and the running ones that are to act now.
local function request_stop(prefix, due, run_id, what, outcome, t)
  local run = prefix .. ':run:' .. run_id
  local r = redis.call('HMGET', run, 'created', 'epoch', 'parts', 'left')
  local epoch, since = store_epoch(prefix, t)
  redis.call('HSETNX', run, 'stop_reason', what)
  redis.call('HSETNX', run, 'stop_requested_at', format_time(t))
  local left, out = tonumber(r[4]), {}
  for n = 0, tonumber(r[3]) - 1 do
    local key, part_id = part_key(prefix, run_id, n), run_id .. ':' .. n
    local p = redis.call('HMGET', key, 'state', 'lease', 'cancel_sent_at', 'checked_epoch')
    if tonumber(p[2] or 0) <= t then
      if p[1] == 'queued' and may_have_been_sent(epoch, since, p[4], r) then
        make_due(due, key, part_id, t, 0)
      elseif p[1] == 'queued' then
        redis.call('HSET', key, 'state', 'done', 'outcome', outcome)
        redis.call('HINCRBY', key, 'fence', 1)
        release_slot(prefix, due, key, part_id, t)
        redis.call('ZREM', due, part_id)
        left = redis.call('HINCRBY', run, 'left', -1)
        if left == 0 then redis.call('ZADD', due, format_time(t), run_id .. ':run') end
      elseif p[1] == 'running' and not p[3] then
        make_due(due, key, part_id, t, 0)
        out[#out + 1] = part_id
      elseif p[1] == 'fetching' or p[1] == 'reconciling' then
        -- One in doubt may wait for the end of a pause of minutes.
        make_due(due, key, part_id, t, 0)
      end
    end
  end
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  return left, out
end

-- Return whether a run exists and has no outcome yet.
local function is_live(prefix, run_id)
  local r = redis.call('HMGET', prefix .. ':run:' .. run_id, 'parts', 'outcome')
  return r[1] and not r[2]
end

-- A run has ended. Runs of its schedule's later ticks may wait for it, as drafts, in a line: one that was canceled while
-- it waited itself leaves the line; else the next one's turn has come.
local function start_next_scheduled(prefix, due, run, run_id, t)
  local r = redis.call('HMGET', run, 'next', 'after', 'schedule')
  local next_one, before, schedule = r[1], r[2], r[3]
  if before and not is_live(prefix, before) then before = nil end
  if schedule and redis.call('GET', schedule) == run_id then
    if before then redis.call('SET', schedule, before) else redis.call('DEL', schedule) end
  end
  if before then
    redis.call('HDEL', prefix .. ':run:' .. before, 'next')
    if next_one then
      redis.call('HSET', prefix .. ':run:' .. before, 'next', next_one)
      redis.call('HSET', prefix .. ':run:' .. next_one, 'after', before)
    end
  elseif next_one then
    redis.call('ZADD', due, format_time(t), next_one .. ':run')
  end
end
