-- Ends a part. KEYS: part, run, due
-- ARGV: part id, fence, outcome, error ('' for none), '1' to hold back parts that were not sent,
--       what the ledger is to say of the purchase ('' for what it says), then prefix, redispatch delay,
--       seconds a purchase in doubt counts
-- Returns {'ok', parts left} or {'stale'}.
--- @include lib/clock
--- @include lib/finish
--- @include lib/memory
local p = redis.call('HMGET', KEYS[1], 'fence', 'state')
if p[1] ~= ARGV[2] then return {'stale'} end
if p[2] == 'done' then return {'ok', redis.call('HGET', KEYS[2], 'left')} end
allow_when_full(KEYS[1])
return {'ok', finish_part(KEYS, ARGV[1], now(), ARGV[3], ARGV[4], ARGV[5], ARGV[6], {ARGV[7], ARGV[8], ARGV[9]})}
