-- The change feed: note that a run changed.
--- @include lib/clock
--- @include lib/keys

-- Put a run into the change feed, to be announced `within` seconds.
local function mark_changed(prefix, run_id, t, within)
  redis.call('ZADD', make_key(prefix, 'changed'), 'LT', format_time(t + within), run_id)
end
