-- How the running jobs of an account are looked at next: each by itself, or all of them by the job list.
-- KEYS: watch, sweep, due, pause, breaker
-- ARGV: running jobs up to which each is looked at by itself, jobs a page, pages beside those, redispatch delay, most to hand over,
--       prefix, seconds ahead of which what is due soon counts, seconds after which a refused token fails its runs,
--       seconds after which to look whether a sweep has ended, seconds that one is late where no sweep comes to its
--       end, how many are handed over then, seconds for which others' jobs count
-- Returns {next look or '', '1' where a sweep is to be dispatched}.
--- @include lib/clock
--- @include lib/due
--- @include lib/memory
local t = now()
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first then return {'', ''} end
if tonumber(first) > t then return {first, ''} end
local s = redis.call('HMGET', KEYS[2], 'until', 'others', 'ended')
local paused = tonumber(redis.call('GET', KEYS[4]) or 0)
if paused > t then return {format_time(paused), ''} end
-- A sweep may end at any time.
local held = tonumber(s[1] or 0)
if held > t then return {format_time(math.min(held, t + ARGV[9])), ''} end
allow_when_full(KEYS[2])
local refused = redis.call('HGET', KEYS[5], 'since')
if refused then
  -- The token is refused: one of them goes on, and tries the account; in the end all do, and fail.
  move_to_due(KEYS[1], KEYS[3], ARGV[6], t, t, 0, t - refused > tonumber(ARGV[8]) and ARGV[5] or 1)
  redis.call('HSET', KEYS[2], 'until', format_time(t + 1))
  return {format_time(t + 1), ''}
end
-- What is due soon counts as well, else a crowd that is spread evenly would be looked at one by one for ever.
local ready = redis.call('ZCOUNT', KEYS[1], '-inf', format_time(t + ARGV[7]))
local pages = math.ceil(redis.call('ZCARD', KEYS[1]) / ARGV[2]) + ARGV[3]
-- The account may have other jobs than ours, whose pages are read as well; for a while that is known.
local others = t - tonumber(s[3] or 0) < tonumber(ARGV[12]) and tonumber(s[2] or 0) or 0
if ready <= math.max(tonumber(ARGV[1]), pages + others) then
  move_to_due(KEYS[1], KEYS[3], ARGV[6], t, t, 0, ARGV[5])
  return {format_time(t), ''}
end
-- Steps that sweep may die, or be cut short, each time.
if t - first > tonumber(ARGV[10]) then move_to_due(KEYS[1], KEYS[3], ARGV[6], t, t, 0, ARGV[11]) end
redis.call('HSET', KEYS[2], 'until', format_time(t + ARGV[4]), 'token', '')
return {format_time(t + ARGV[9]), '1'}
