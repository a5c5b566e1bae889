--[[ Acknowledge announced runs, except runs that changed again after the receipt.

  KEYS  changed  zset  run id -> when to announce its change
  ARGV  receipt, run_id...

  Returns 1.
]]
--- @include lib/clock
local changed_key = KEYS[1]
local receipt = ARGV[1]

for i = 2, #ARGV do
  local run_id = ARGV[i]
  local at = redis.call('ZSCORE', changed_key, run_id)
  -- Shortly before the time of the receipt, a change leaves that time as it is. A run that was announced so
  -- late stays in the feed: it may have changed again.
  if at and format_time(tonumber(at)) == receipt and tonumber(at) - now() > CHANGE_DELAY then
    redis.call('ZREM', changed_key, run_id)
  end
end
return 1
