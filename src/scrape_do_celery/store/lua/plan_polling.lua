--[[ Plan how the running jobs of an account are polled: each by itself, or all of them by a list poll.

  KEYS  poll_set   zset    part id -> when to poll its job
        list_poll  hash    the list poll of the account
        due        zset    the due set
        pause      string  until when no API call is made
        breaker    hash    the breaker of the account
  ARGV  max_single_polls (up to this many due jobs are polled each by itself),
        page_size (jobs on a page of the list), extra_pages (pages beside those), redispatch_delay,
        batch_limit (parts to move at most), prefix,
        soon (seconds: a job that is due within them counts as due),
        auth_grace (seconds: a token that is refused for longer fails its runs),
        check_interval (seconds: check again whether a list poll has ended),
        late_after (seconds: a job that is overdue for longer shows that list polls do not end),
        small_batch (parts to move then), others_ttl (seconds for which the pages of other users count)

  Returns {time of the next plan or '', '1' if a list poll is to start}.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/poll_sets
--- @include lib/records
--- @include lib/watched
local poll_set_key, list_poll_key, due_key, pause_key, breaker_key =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local max_single_polls, page_size, extra_pages, redispatch_delay, batch_limit, prefix, soon, auth_grace,
  check_interval, late_after, small_batch, others_ttl = unpack(ARGV)

local t = now()
local first_due_at = redis.call('ZRANGE', poll_set_key, 0, 0, 'WITHSCORES')[2]
if not first_due_at then return {'', ''} end
if tonumber(first_due_at) > t then return {first_due_at, ''} end
local list_poll = read_fields(list_poll_key, 'until', 'others', 'ended')
local paused_until = tonumber(redis.call('GET', pause_key) or 0)
if paused_until > t then return {format_time(paused_until), ''} end
-- A list poll may end at any time, long before its lease does.
local held_until = tonumber(list_poll['until'] or 0)
if held_until > t then return {format_time(math.min(held_until, t + check_interval)), ''} end
allow_when_full(list_poll_key)

local refused = read_fields(breaker_key, 'since', 'watched')
if refused.since then
  -- The token is refused. A single part goes on, and tries the token. After the grace all parts go on, and
  -- fail.
  local refused_for = read_watched(prefix, t) - (refused.watched or refused.since)
  local limit = refused_for > tonumber(auth_grace) and batch_limit or 1
  move_to_due(poll_set_key, due_key, prefix, t, t, 0, limit)
  redis.call('HSET', list_poll_key, 'until', format_time(t + 1))
  return {format_time(t + 1), ''}
end

-- Jobs that are due soon count too. Else many jobs, spread evenly, would be polled one by one for ever.
local ready = redis.call('ZCOUNT', poll_set_key, '-inf', format_time(t + soon))
local pages = math.ceil(redis.call('ZCARD', poll_set_key) / page_size) + extra_pages
-- A list poll also reads the pages of other users' jobs. The last one counted them, which holds for a while.
local is_recent = t - tonumber(list_poll.ended or 0) < tonumber(others_ttl)
local others = is_recent and tonumber(list_poll.others or 0) or 0
if ready <= math.max(tonumber(max_single_polls), pages + others) then
  move_to_due(poll_set_key, due_key, prefix, t, t, 0, batch_limit)
  return {format_time(t), ''}
end
-- The step of a list poll may die, or be cut short, each time. Without single polls no job would be polled.
if t - first_due_at > tonumber(late_after) then
  move_to_due(poll_set_key, due_key, prefix, t, t, 0, small_batch)
end
redis.call('HSET', list_poll_key, 'until', format_time(t + redispatch_delay), 'token', '')
return {format_time(t + check_interval), '1'}
