--[[ Finish a list poll, or a share of its end: move the parts to the due set that it did not show.

  These are the parts that were due when the list poll began. Each of their jobs is polled by itself.

  KEYS  poll_set   zset  part id -> when to poll its job
        list_poll  hash  the list poll of the account
        due        zset  the due set
  ARGV  token, prefix, batch_limit (parts to move at most),
        others (pages of other users' jobs; '' if the list poll goes on),
        min_rest (seconds until the next list poll),
        redispatch_after (seconds that the caller has to publish), max_rest

  Returns the ids of the moved parts; none if another step holds the list poll.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/poll_sets
--- @include lib/records
local poll_set_key, list_poll_key, due_key = KEYS[1], KEYS[2], KEYS[3]
local token, prefix, batch_limit, others, min_rest, redispatch_after, max_rest = unpack(ARGV)

local list_poll = read_fields(list_poll_key, 'token', 'began')
if list_poll.token ~= token then return {} end
allow_when_full(list_poll_key)
local t = now()
local moved = move_to_due(poll_set_key, due_key, prefix, list_poll.began, t, redispatch_after, batch_limit)
if others ~= '' and #moved < tonumber(batch_limit) then
  -- The rest is as long as the list poll took: it lets many jobs come to be due together.
  local rest = math.max(min_rest, math.min(t - list_poll.began, max_rest))
  redis.call('HSET', list_poll_key, 'until', format_time(t + rest), 'token', '', 'others', others,
    'ended', format_time(t))
end
return moved
