--[[ Mark the id that a message names as its run, because the run of its call has another id.

  A step that finds the mark ignores the message.

  KEYS  run  hash  the record of the run that does not exist
  ARGV  prefix

  Returns 1, or 0 if a run has the id.
]]
--- @include lib/clock
--- @include lib/guards
--- @include lib/memory
local run_key = KEYS[1]
local prefix = ARGV[1]

if redis.call('EXISTS', run_key) == 1 then return 0 end
allow_when_full(run_key)
redis.call('HSET', run_key, 'forgotten', 1)
expire_guard(prefix, run_key, MARK_TTL, now())
return 1
