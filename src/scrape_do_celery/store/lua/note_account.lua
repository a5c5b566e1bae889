--[[ Note the figures of an account: the last ones, and the first credits of each hour.

  KEYS  account  hash  the last figures
        balance  hash  hour since the epoch -> credits
  ARGV  concurrency, credits, at

  Returns 1.
]]
local account_key, balance_key = KEYS[1], KEYS[2]
local concurrency, credits, at = unpack(ARGV)

redis.call('HSET', account_key, 'concurrency', concurrency, 'credits', credits, 'at', at)
local hour = math.floor(at / HOUR)
if redis.call('HSETNX', balance_key, string.format('%.0f', hour), credits) == 1 then
  for _, other in ipairs(redis.call('HKEYS', balance_key)) do
    if tonumber(other) <= hour - LEDGER_TTL / HOUR then redis.call('HDEL', balance_key, other) end
  end
  redis.call('EXPIRE', balance_key, LEDGER_TTL)
end
return 1
