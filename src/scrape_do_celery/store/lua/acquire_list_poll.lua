--[[ Acquire the list poll of an account, or renew its lease.

  KEYS  list_poll  hash  the list poll of the account
        poll_set   zset  part id -> when to poll its job
  ARGV  token, lease_seconds

  Returns 1 if the caller holds the list poll, 0 if another step holds it or if no job is due any more.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/records
local list_poll_key, poll_set_key = KEYS[1], KEYS[2]
local token, lease_seconds = unpack(ARGV)

local t = now()
local list_poll = read_fields(list_poll_key, 'token', 'until')
local is_held_by_caller = list_poll.token == token
if not is_held_by_caller then
  if list_poll.token and list_poll.token ~= '' and tonumber(list_poll['until'] or 0) > t then return 0 end
  local first_due_at = redis.call('ZRANGE', poll_set_key, 0, 0, 'WITHSCORES')[2]
  if not first_due_at or tonumber(first_due_at) > t then return 0 end
end
allow_when_full(list_poll_key)
if not is_held_by_caller then redis.call('HSET', list_poll_key, 'began', format_time(t)) end
redis.call('HSET', list_poll_key, 'token', token, 'until', format_time(t + lease_seconds))
return 1
