-- The end of a part: its outcome, its line in the ledger, and what it held.
--- @include lib/budgets
--- @include lib/changes
--- @include lib/clock
--- @include lib/contents
--- @include lib/counters
--- @include lib/due
--- @include lib/keys
--- @include lib/ledger
--- @include lib/purchases
--- @include lib/records
--- @include lib/slots
--- @include lib/watched

local function count_unless_zero(prefix, name, amount)
  amount = tonumber(amount or 0)
  if amount ~= 0 then count(prefix, name, amount) end
end

-- Count an ended part whose job had a webhook: as "called", or as "silent" if no delivery came.
local function count_webhook(prefix, part_key, deliveries_key)
  local part = read_fields(part_key, 'webhook', 'job', 'hints')
  if not (part.webhook and part.job) then return end
  local is_called = part.hints or redis.call('EXISTS', deliveries_key) == 1
  count(prefix, 'webhook_parts:' .. (is_called and 'called' or 'silent'), 1)
end

-- Hold back the parts of a run that were not sent. A step handles each of them at once, unless another step
-- has it.
local function skip_unsent_parts(prefix, run_key, due_key, run_id, t)
  local watched = read_watched(prefix, t)
  redis.call('HSET', run_key, 'skip_unsent', 1)
  for n = 0, tonumber(redis.call('HGET', run_key, 'parts')) - 1 do
    local part_key = make_part_key(prefix, run_id, n)
    local part = read_fields(part_key, 'state', 'lease')
    if part.state == 'queued' and tonumber(part.lease or 0) <= watched then
      make_due(due_key, part_key, run_id .. ':' .. n, t, 0)
    end
  end
end

-- End a part, no matter which step holds its lease. Return how many parts of its run are left. `ending` has:
-- `outcome`; `error_text`, or '' for none; `skip_unsent`, '1' to hold back the parts that were not sent;
-- `purchase_status`, the word of the ledger for the purchase, or '' to leave it; `redispatch_after`; and
-- `retention`, the seconds for which a purchase in doubt counts.
local function finish_part(prefix, part_key, run_key, due_key, part_id, t, ending)
  local run_id = string.match(part_id, '^(.*):')
  store_all_held(prefix, part_key, part_id)
  local deliveries_key = make_key(prefix, 'deliveries', part_id)
  count_webhook(prefix, part_key, deliveries_key)
  redis.call('DEL', deliveries_key)
  redis.call('HDEL', part_key, 'hints', 'hints_seen', 'job_hint', 'unended', 'looked_at', 'safety', 'proven')
  local part = read_fields(part_key, 'state', 'credits', 'stored_ok', 'stored_failed', 'gone')
  redis.call('HSET', part_key, 'state', 'done', 'outcome', ending.outcome, 'lease', 0, 'token', '')
  if ending.error_text ~= '' then redis.call('HSET', part_key, 'error', ending.error_text) end
  if ending.purchase_status ~= '' then
    redis.call('HSET', part_key, 'purchase_status', ending.purchase_status)
  end
  stop_list_polling(part_key, part_id)
  redis.call('ZREM', due_key, part_id)
  redis.call('ZREM', make_key(prefix, 'content_expiry'), part_id)
  release_slot(prefix, due_key, part_key, part_id, t)
  if is_unresolved(part.state) then close_submit(prefix, due_key, part_key, part_id, ending.retention, t) end
  local reservation = read_reservation(part_key, t)
  write_ledger(prefix, part_key, part_id)
  leave_budget_line(prefix, due_key, part_key, part_id, t)
  settle_ended_part(prefix, due_key, run_key, run_id, part_key, reservation, t)
  count_unless_zero(prefix, 'credits', part.credits)
  count_unless_zero(prefix, 'tasks:success', part.stored_ok)
  count_unless_zero(prefix, 'tasks:failed', part.stored_failed)
  count_unless_zero(prefix, 'tasks:gone', part.gone)
  if ending.skip_unsent == '1' then skip_unsent_parts(prefix, run_key, due_key, run_id, t) end
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  local left = redis.call('HINCRBY', run_key, 'left', -1)
  if left == 0 then
    redis.call('HSET', run_key, 'dispatches', 0, 'dispatched_at', format_time(t))
    redis.call('ZADD', due_key, format_time(t + ending.redispatch_after), run_id .. ':run')
  end
  return left
end
