-- Counters for monitoring: add to the totals.
--- @include lib/keys

-- Add to a counter of `<prefix>:totals`. An error of the counter must not fail the script, so it is ignored.
local function count(prefix, name, amount)
  redis.pcall('HINCRBYFLOAT', make_key(prefix, 'totals'), name, amount)
end
