--[[ Rewind the times that were written before the server's clock was set back. All work waits for them.


  A dispatcher notes a step back, and calls this script until the note is gone.

  KEYS  clock            hash    the watched clock, and by how much the server's clock was set back
        due              zset    part or run -> when it needs a step
        dispatched       zset    part id -> when its step message counts as lost
        changed          zset    run id -> when to announce its change
        queue_delay      hash    the factor by which the redispatch interval is longer, and its start
        quota            hash    process -> "wanted granted until"
        next_request_at  string  when the next request may start
        pause            string  until when the API is left alone
        accounts         set     the accounts for which jobs were, or are, bought
  ARGV  prefix

  Returns the seconds by which times were rewound.
]]
--- @include lib/clock
--- @include lib/keys
local clock_key, due_key, dispatched_key, changed_key, queue_delay_key, quota_key, next_request_at_key,
  pause_key, accounts_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local prefix = ARGV[1]

local seconds = redis.call('HGET', clock_key, 'rewind')
if not seconds then return '0' end
local t, accounts = now(), redis.call('SMEMBERS', accounts_key)
-- Entries that were written after the step come too early, which costs a step without work.
local function rewind_scores(key)
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do redis.call('ZADD', key, format_time(entries[i + 1] - seconds), entries[i]) end
end
redis.call('HDEL', clock_key, 'rewind')
for _, key in ipairs({due_key, dispatched_key, changed_key}) do rewind_scores(key) end
for _, account in ipairs(accounts) do
  rewind_scores(make_key(prefix, 'poll_set', account))
  redis.call('HDEL', make_key(prefix, 'list_poll', account), 'until')
  local breaker_key = make_key(prefix, 'breaker', account)
  if redis.call('EXISTS', breaker_key) == 1 then redis.call('HSET', breaker_key, 'next', format_time(t)) end
end
-- A share of requests, or the end of a pause, comes again with the next call of the API.
redis.call('DEL', queue_delay_key, quota_key, next_request_at_key, pause_key)
return seconds
