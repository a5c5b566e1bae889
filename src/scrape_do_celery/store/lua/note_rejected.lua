--[[ Note a purchase that the API rejected, so that the job list is read for its job later.

  KEYS  rejected  zset  rejected purchase -> when the job list is read for its job
        part      hash  the record of the part
  ARGV  entry, delay (seconds until the list is read)

  Returns 1.
]]
--- @include lib/clock
--- @include lib/memory
local rejected_key, part_key = KEYS[1], KEYS[2]
local entry, delay = unpack(ARGV)

-- Without this note, the part would be searched for as in doubt, and its rejected request sent again.
allow_when_full(part_key)
local order = redis.call('HGET', part_key, 'order') or '0'
redis.call('ZADD', rejected_key, format_time(now() + delay), entry .. ' ' .. order)
redis.call('EXPIRE', rejected_key, REJECTED_TTL)
return 1
