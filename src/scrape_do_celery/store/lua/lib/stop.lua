-- Stop requests.
--- @include lib/changes
--- @include lib/clock
--- @include lib/due
--- @include lib/epoch
--- @include lib/records
--- @include lib/slots

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
    local key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
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
