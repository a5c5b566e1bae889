-- Stop requests: write one, and end the parts that were certainly not sent.
--- @include lib/budgets
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/epoch
--- @include lib/keys
--- @include lib/records
--- @include lib/slots
--- @include lib/watched

-- Write the stop request of a live run, unless it has one. End the parts that were certainly not sent, with
-- `unsent_outcome`. Return how many parts are left, and the ids of the running parts that must act now.
local function request_stop(prefix, due_key, run_id, reason, unsent_outcome, t)
  local run_key = make_key(prefix, 'run', run_id)
  local run = read_fields(run_key, 'created', 'epoch', 'parts', 'left')
  local creation = {run.created, run.epoch}
  local epoch, since = store_epoch(prefix, t)
  local watched = read_watched(prefix, t)
  redis.call('HSETNX', run_key, 'stop_reason', reason)
  redis.call('HSETNX', run_key, 'stop_requested_at', format_time(t))
  local left, running, lines = tonumber(run.left), {}, {}
  for n = 0, tonumber(run.parts) - 1 do
    local part_key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    local part = read_fields(part_key, 'state', 'lease', 'cancel_sent_at', 'checked_epoch', 'proven')
    -- If a step has the lease, it reads the stop request itself.
    if tonumber(part.lease or 0) <= watched then
      local maybe_sent = part.proven or may_have_been_sent(epoch, since, part.checked_epoch, creation)
      if part.state == 'queued' and maybe_sent then
        make_due(due_key, part_key, part_id, t, 0)
      elseif part.state == 'queued' then
        redis.call('HSET', part_key, 'state', 'done', 'outcome', unsent_outcome)
        redis.call('HINCRBY', part_key, 'fence', 1)
        release_slot(prefix, due_key, part_key, part_id, t)
        local scope = drop_from_line(prefix, part_key, part_id)
        if scope then lines[scope] = true end
        redis.call('ZREM', due_key, part_id)
        redis.call('DEL', make_key(prefix, 'deliveries', part_id))
        left = redis.call('HINCRBY', run_key, 'left', -1)
        if left == 0 then redis.call('ZADD', due_key, format_time(t), run_id .. ':run') end
      elseif part.state == 'running' and not part.cancel_sent_at then
        make_due(due_key, part_key, part_id, t, 0)
        running[#running + 1] = part_id
      elseif part.state == 'fetching' or part.state == 'reconciling' then
        -- A part in doubt may wait for the end of a pause of minutes.
        make_due(due_key, part_key, part_id, t, 0)
      end
    end
  end
  -- Not in the loop: each line is read once, and no part of this run is woken for nothing.
  for scope in pairs(lines) do
    wake_budget_line(prefix, due_key, scope, math.floor(t / SECONDS_PER_DAY), t)
  end
  mark_changed(prefix, run_id, t, CHANGE_DELAY)
  return left, running
end
