--[[ Note the progress or the end of an export. Nothing is written for a caller without the claim.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> when it needs a step
  ARGV  run_id, prefix, token (of the claim),
        state ("writing" before the first byte; "done", "empty" or "failed" at the end; "" after an attempt
        that another one follows),
        report ("" for none), key_name (of the key that encrypts the report; "" for none),
        retry_after (seconds until the next attempt)

  Returns 1, or 0 if the caller does not hold the claim.
]]
--- @include lib/clock
--- @include lib/counters
--- @include lib/encryption
--- @include lib/memory
--- @include lib/records
--- @include lib/watched
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, token, state, report, key_name, retry_after = unpack(ARGV)

local run = read_fields(run_key, 'export_token', 'waiting')
if run.export_token ~= token then return 0 end
allow_when_full(run_key)
local t = now()
if report ~= '' then
  redis.call('HSET', run_key, 'export_report', report)
  note_encryption_key(prefix, run_key, key_name, t)
end
if state ~= '' then redis.call('HSET', run_key, 'export', state) end
if state == 'writing' then return 1 end
redis.call('HDEL', run_key, 'export_token')
if state == '' then
  local _, most = read_watched(prefix, t)
  redis.call('HSET', run_key, 'export_until', format_time(most + retry_after))
  if run.waiting == '1' then redis.call('ZADD', due_key, format_time(t + retry_after), run_id .. ':run') end
else
  redis.call('HINCRBY', run_key, 'waiting', -1)
  count(prefix, 'exports:' .. state, 1)
end
return 1
