--[[ Count an attempt to decide the outcome of a run.

  KEYS  run  hash  the record of the run

  Returns the number of attempts, this attempt included.
]]
--- @include lib/memory
local run_key = KEYS[1]

allow_when_full(run_key)
return redis.call('HINCRBY', run_key, 'deciding', 1)
