-- The change feed.
--- @include lib/clock

-- Put a run into the change feed, to be announced `within` seconds.
local function mark_changed(prefix, run_id, t, within)
  redis.call('ZADD', prefix .. ':changed', 'LT', format_time(t + within), run_id)
end
