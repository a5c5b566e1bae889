--[[ Claim the export of an ended run, or renew the claim of the caller.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> when it needs a step
  ARGV  run_id, prefix, token (of the caller), lease_seconds

  Returns {state, attempts}; nil if the export has ended, is not due or has another holder; or
  {'newer', version}.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/records
--- @include lib/watched
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, token, lease_seconds = unpack(ARGV)

local newer = newer_version(run_key)
if newer then return {'newer', newer} end
local run = read_fields(run_key, 'outcome', 'export', 'export_token', 'export_until', 'waiting')
if not run.outcome or (run.export ~= 'waiting' and run.export ~= 'writing') then return nil end
local t = now()
local least, most = read_watched(prefix, t)
local is_renewal = run.export_token == token
if not is_renewal and tonumber(run.export_until or 0) > least then return nil end
allow_when_full(run_key)
redis.call('HSET', run_key, 'export_token', token, 'export_until', format_time(most + lease_seconds))
-- While the step works, no other message is needed. An id of Celery that waits still needs the dispatcher.
if run.waiting == '1' then
  redis.call('HSET', run_key, 'dispatches', 0)
  redis.call('ZADD', due_key, format_time(t + lease_seconds), run_id .. ':run')
end
return {run.export, redis.call('HINCRBY', run_key, 'export_attempts', is_renewal and 0 or 1)}
