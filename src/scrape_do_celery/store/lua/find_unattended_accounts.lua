--[[ Find other accounts whose running jobs nobody polls.

  KEYS  accounts  set  the accounts for which jobs were, or are, bought
  ARGV  prefix, account (of the caller), late_after (seconds: a job that is overdue for longer was forgotten)

  Returns the names of the accounts.
]]
--- @include lib/clock
--- @include lib/keys
local accounts_key = KEYS[1]
local prefix, account, late_after = unpack(ARGV)

local t, found = now(), {}
for _, other in ipairs(redis.call('SMEMBERS', accounts_key)) do
  local first_due_at = redis.call('ZRANGE', make_key(prefix, 'poll_set', other), 0, 0, 'WITHSCORES')[2]
  if other ~= account and first_due_at and t - first_due_at > tonumber(late_after) then
    found[#found + 1] = other
  end
end
return found
