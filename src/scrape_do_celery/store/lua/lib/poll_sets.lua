-- The poll sets: parts whose jobs run, polled by the list of their account.
--- @include lib/clock
--- @include lib/due
--- @include lib/keys
--- @include lib/records

-- Leave a part whose job runs to the list poll of its account: from now on the part is not in `due`.
local function poll_by_list(prefix, account, due_key, part_key, part_id, t)
  local poll_set_key = make_key(prefix, 'poll_set', account)
  redis.call('HSET', part_key, 'due_at', format_time(t), 'poll_set', poll_set_key)
  redis.call('HDEL', part_key, 'dispatches')
  redis.call('ZREM', due_key, part_id)
  redis.call('ZADD', poll_set_key, format_time(t), part_id)
  redis.call('SADD', make_key(prefix, 'accounts'), account)
end

-- Move parts whose time has come from a poll set to the due set: a step handles each of them. The caller has
-- `redispatch_after` seconds to publish for them by itself. Return their ids.
local function move_to_due(poll_set_key, due_key, prefix, until_, t, redispatch_after, limit)
  local part_ids = redis.call('ZRANGEBYSCORE', poll_set_key, '-inf', until_, 'LIMIT', 0, limit)
  for _, part_id in ipairs(part_ids) do
    local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
    local part_key = make_part_key(prefix, run_id, n)
    redis.call('ZREM', poll_set_key, part_id)
    -- The record may be gone. `make_due` would write a new one, which nobody deletes.
    if redis.call('HGET', part_key, 'poll_set') == poll_set_key then
      make_due(due_key, part_key, part_id, t, redispatch_after)
    end
  end
  return part_ids
end
