--[[ Set a name to a value, unless an earlier call has set it and that value has not expired.

  KEYS  once  string  the value of the first call
  ARGV  value, ttl

  Returns the value that the name has now.
]]
local once_key = KEYS[1]
local value, ttl = unpack(ARGV)

redis.call('SET', once_key, value, 'NX', 'EX', ttl)
return redis.call('GET', once_key)
