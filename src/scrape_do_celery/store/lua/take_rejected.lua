--[[ Take the rejected purchases whose time has come. If their step dies, another step takes them later.

  KEYS  rejected  zset  rejected purchase -> when the job list is read for its job
  ARGV  taken_for (seconds until others may take them), limit (of purchases)

  Returns the purchases.
]]
--- @include lib/clock
--- @include lib/memory
local rejected_key = KEYS[1]
local taken_for, limit = unpack(ARGV)

allow_when_full(rejected_key .. ':')
local t = now()
local found = redis.call('ZRANGEBYSCORE', rejected_key, '-inf', format_time(t), 'LIMIT', 0, limit)
for _, entry in ipairs(found) do redis.call('ZADD', rejected_key, format_time(t + taken_for), entry) end
return found
