--[[ Take runs from the change feed. A run that is not acknowledged in time is handed out again.

  KEYS  changed  zset  run id -> when to announce its change
  ARGV  limit, again_after (seconds until they are handed out again)

  Returns {receipt: the time at which they are handed out again, run id ...}.
]]
--- @include lib/clock
--- @include lib/memory
local changed_key = KEYS[1]
local limit, again_after = unpack(ARGV)

allow_when_full(changed_key .. ':')
local t = now()
local receipt = format_time(t + again_after)
local run_ids = redis.call('ZRANGEBYSCORE', changed_key, '-inf', format_time(t), 'LIMIT', 0, limit)
for _, run_id in ipairs(run_ids) do redis.call('ZADD', changed_key, receipt, run_id) end
return {receipt, unpack(run_ids)}
