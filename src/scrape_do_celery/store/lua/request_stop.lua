-- Write the stop request of a run. KEYS: run, due  ARGV: run id, prefix, reason, outcome of a part that was not sent
-- Returns {'gone'}, {'ended'} or {'ok', parts left, part id ...} for each running part that is to act now.
--- @include lib/clock
--- @include lib/memory
--- @include lib/stop
local r = redis.call('HMGET', KEYS[1], 'parts', 'outcome')
if not r[1] then return {'gone'} end
if r[2] then return {'ended'} end
allow_when_full(KEYS[1])
local left, out = request_stop(ARGV[2], KEYS[2], ARGV[1], ARGV[3], ARGV[4], now())
-- Not by `unpack`, which cannot take very many.
table.insert(out, 1, left)
table.insert(out, 1, 'ok')
return out
