-- Accounts whose running jobs nobody looks at.
-- KEYS: accounts  ARGV: prefix, the account of the caller, seconds after which what is due was forgotten
-- Returns their names.
--- @include lib/clock
local t, found = now(), {}
for _, account in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local first = redis.call('ZRANGE', ARGV[1] .. ':poll_set:' .. account, 0, 0, 'WITHSCORES')[2]
  if account ~= ARGV[2] and first and t - first > tonumber(ARGV[3]) then found[#found + 1] = account end
end
return found
