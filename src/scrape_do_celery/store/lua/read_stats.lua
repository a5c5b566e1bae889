-- How the store stands, for whoever monitors it. None of this takes longer for more runs.
-- KEYS: due, dispatched, content_expiry, budget, pause, accounts, totals, stored
-- ARGV: prefix, account of the caller ('' for none), then seconds ahead for which to count what expires ...
-- Returns {now, entries of due, when the first is due or '', step messages, end of the pause or '',
-- {when the first page that is paid and not fetched expires or '', parts that expire within each of the seconds ...},
-- shares of requests (as in budget), {name, total ...}, {hour, bytes ...},
-- {account, jobs watched, when the first is due or '', slots taken, parts waiting for a slot, when the first came or '',
-- since when its token is refused or ''} ...}.
--- @include lib/clock
local t = now()
local function head(key) return redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2] or '' end
local paid = {head(KEYS[3])}
for i = 3, #ARGV do paid[#paid + 1] = redis.call('ZCOUNT', KEYS[3], '-inf', format_time(t + ARGV[i])) end
local shares = {}
for _, share in ipairs(redis.call('HVALS', KEYS[4])) do
  if tonumber(string.match(share, '(%S+)$')) > t then shares[#shares + 1] = share end
end
local names, accounts = {}, redis.call('SMEMBERS', KEYS[6])
if ARGV[2] ~= '' then accounts[#accounts + 1] = ARGV[2] end
local out = {format_time(t), redis.call('ZCARD', KEYS[1]), head(KEYS[1]), redis.call('ZCOUNT', KEYS[2], format_time(t), '+inf'),
  redis.call('GET', KEYS[5]) or '', paid, shares, redis.call('HGETALL', KEYS[7]), redis.call('HGETALL', KEYS[8])}
for _, account in ipairs(accounts) do
  if not names[account] then
    names[account] = true
    local watch, waiters = ARGV[1] .. ':poll_set:' .. account, ARGV[1] .. ':slot_waiters:' .. account
    out[#out + 1] = {account, redis.call('ZCARD', watch), head(watch),
      redis.call('ZCARD', ARGV[1] .. ':slots:' .. account), redis.call('ZCARD', waiters), head(waiters),
      redis.call('HGET', ARGV[1] .. ':breaker:' .. account, 'since') or ''}
  end
end
return out
