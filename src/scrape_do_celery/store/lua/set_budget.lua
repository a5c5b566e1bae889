--[[ Set or remove the limit of a budget, or stop and resume the purchases of a scope.

  KEYS  budgets  hash  the limits of budgets
        due      zset  part or run -> when it needs a step
  ARGV  prefix, scope, what ("day", "month" or "stop"),
        amount (in thousandths of a credit; for a stop "1"; "" removes the limit or the stop),
        keeps_old ("1" to leave an older limit as it is)

  Returns '1' if the limit has changed, else ''.
]]
--- @include lib/budgets
--- @include lib/clock
--- @include lib/keys
--- @include lib/memory
local budgets_key, due_key = KEYS[1], KEYS[2]
local prefix, scope, what, amount, keeps_old = unpack(ARGV)

allow_when_full(budgets_key)
local field, t = scope .. ' ' .. what, now()
local before = redis.call('HGET', budgets_key, field)
if before == amount or (before and keeps_old == '1') or (not before and amount == '') then return '' end
if amount == '' then
  redis.call('HDEL', budgets_key, field)
else
  redis.call('HSET', budgets_key, field, amount)
end
local today = math.floor(t / SECONDS_PER_DAY)
local period = name_periods(today)[what]
-- The new limit warns anew.
if period then redis.call('HDEL', make_key(prefix, 'spend', period), scope .. ' warned ' .. what) end
wake_budget_line(prefix, due_key, scope, today, t)
return '1'
