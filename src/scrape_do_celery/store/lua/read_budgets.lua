--[[ Read the limits of all budgets, with what the present day and month have used of them.

  KEYS  budgets  hash  the limits of budgets
  ARGV  prefix, with_warnings ("1" to note that the budgets which pass their warning threshold are told)

  Returns {{scope, what ("day", "month" or "stop"), limit, spent, reserved, assumed, '1' if the budget has
  passed its warning threshold and was not told before, else ''} ...}.
]]
--- @include lib/budgets
--- @include lib/clock
--- @include lib/keys
--- @include lib/memory
--- @include lib/spend
local budgets_key = KEYS[1]
local prefix, with_warnings = unpack(ARGV)

allow_when_full(budgets_key)
local names, reply = name_periods(math.floor(now() / SECONDS_PER_DAY)), {}
local all = redis.call('HGETALL', budgets_key)
for i = 1, #all, 2 do
  local scope, what = string.match(all[i], '^(.*) (%l+)$')
  local limit, spent, reserved, assumed, is_new = all[i + 1], 0, 0, '0', ''
  if names[what] then
    local key = make_key(prefix, 'spend', names[what])
    spent, reserved = read_spend(prefix, names[what], scope)
    assumed = redis.call('HGET', key, scope .. ' assumed') or '0'
    if with_warnings == '1' and spent + reserved >= BUDGET_WARNING * tonumber(limit)
      and redis.call('HSETNX', key, scope .. ' warned ' .. what, 1) == 1 then
      is_new = '1'
    end
  end
  reply[#reply + 1] = {scope, what, limit, format_amount(spent), format_amount(reserved), assumed, is_new}
end
return reply
