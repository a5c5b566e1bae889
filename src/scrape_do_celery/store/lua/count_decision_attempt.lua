--[[ Count an attempt to decide the outcome of a run, or take it back.

  KEYS  run  hash  the record of the run
  ARGV  number (1, or -1 for an attempt that does not count)

  Returns the number of attempts.
]]
--- @include lib/memory
local run_key = KEYS[1]

local number = unpack(ARGV)

-- A run that was freed meanwhile must not come back.
if redis.call('EXISTS', run_key) == 0 then return 0 end
allow_when_full(run_key)
return redis.call('HINCRBY', run_key, 'deciding', number)
