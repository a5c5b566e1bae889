--[[ Pause the API for all runs without a stop request. A longer pause stays as it is.

  KEYS  pause  string  until when no call is made
  ARGV  seconds

  Returns until when the pause lasts.
]]
--- @include lib/clock
local pause_key = KEYS[1]
local seconds = ARGV[1]

local until_ = now() + seconds
local held = tonumber(redis.call('GET', pause_key) or 0)
if held >= until_ then return format_time(held) end
-- A store that is full takes the pause too, because PERSIST needs no memory: see `allow_when_full`.
redis.call('PERSIST', pause_key)
redis.call('SET', pause_key, format_time(until_), 'PX', math.max(1, math.floor(seconds * MS_PER_SECOND)))
return format_time(until_)
