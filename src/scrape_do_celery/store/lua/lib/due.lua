-- The due set: note when a part needs a step.
--- @include lib/clock

-- Take a part out of the poll set of its account, if it is in one.
local function stop_list_polling(part_key, part_id)
  local poll_set_key = redis.call('HGET', part_key, 'poll_set')
  if poll_set_key then
    redis.call('ZREM', poll_set_key, part_id)
    redis.call('HDEL', part_key, 'poll_set')
  end
end

-- Put a part into the due set. Its record gets the nominal time. The dispatcher publishes a message
-- `redispatch_after` seconds later at the latest, which leaves the caller that long to publish by itself.
local function make_due(due_key, part_key, part_id, t, redispatch_after)
  stop_list_polling(part_key, part_id)
  redis.call('HSET', part_key, 'due_at', format_time(t))
  redis.call('HDEL', part_key, 'dispatches')
  redis.call('ZADD', due_key, format_time(t + redispatch_after), part_id)
end
