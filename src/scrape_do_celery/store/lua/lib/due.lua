-- The due set and the poll sets.
--- @include lib/clock
--- @include lib/records

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
    local part = make_part_key(prefix, run_id, n)
    redis.call('ZREM', poll_set_key, part_id)
    -- Its record may be gone.
    if redis.call('HGET', part, 'poll_set') == poll_set_key then make_due(due, part, part_id, t, redispatch_after) end
  end
  return found
end
