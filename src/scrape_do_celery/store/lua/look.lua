-- How the running jobs of an account are looked at next: each by itself, or all of them by the job list.
-- KEYS: watch, sweep, due, pause, breaker
-- ARGV: running jobs up to which each is looked at by itself, jobs a page, pages beside those, ring, most to hand over,
--       prefix, seconds ahead of which what is due soon counts
-- Returns {next look or '', '1' where a sweep is to be rung for}.
local t = now()
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
if not first then return {'', ''} end
if tonumber(first) > t then return {first, ''} end
local s = redis.call('HMGET', KEYS[2], 'until', 'requests')
local held = math.max(tonumber(s[1] or 0), tonumber(redis.call('GET', KEYS[4]) or 0))
if held > t then return {stamp(held), ''} end
local function hand_over(most)
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', stamp(t), 'LIMIT', 0, most)) do
    local run_id, n = string.match(member, '^(.*):([^:]*)$')
    wake(KEYS[3], part_key(ARGV[6], run_id, n), member, t, 0)
  end
end
if redis.call('EXISTS', KEYS[5]) == 1 then
  -- The token is refused: one of them goes on, and tries the account.
  hand_over(1)
  redis.call('HSET', KEYS[2], 'until', stamp(t + 1))
  return {stamp(t + 1), ''}
end
-- What is due soon counts as well, else a crowd that is spread evenly would be looked at one by one for ever.
local ready = redis.call('ZCOUNT', KEYS[1], '-inf', stamp(t + ARGV[7]))
local pages = math.ceil(redis.call('ZCARD', KEYS[1]) / ARGV[2]) + ARGV[3]
if ready <= math.max(tonumber(ARGV[1]), pages, tonumber(s[2] or 0)) then
  hand_over(tonumber(ARGV[5]))
  return {stamp(t), ''}
end
redis.call('HSET', KEYS[2], 'until', stamp(t + ARGV[4]), 'token', '')
return {stamp(t + ARGV[4]), '1'}
