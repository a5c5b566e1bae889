-- Why a job with the part's targets need not be the part's own; '' where nothing speaks against it.
-- KEYS: part, run, due  ARGV: member, prefix
local member, prefix = ARGV[1], ARGV[2]
local p = redis.call('HMGET', KEYS[1], 'fp', 'lost')
local account = redis.call('HGET', KEYS[2], 'account') or ''
local doubt = redis.call('GET', prefix .. ':doubt:' .. account .. ':' .. p[1])
if doubt and doubt ~= member then return 'an earlier purchase of the same targets was never resolved: ' .. doubt end
if not p[2] then return '' end
-- The store lost its last writes, intents and locks among them: any part with these targets may have bought that job.
local mine = redis.call('HGET', KEYS[2], 'spec')
for _, other in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  local run_id, n = string.match(other, '^(.*):([^:]*)$')
  if other ~= member and n ~= 'run' then
    local key = part_key(prefix, run_id, n)
    if redis.call('HGET', key, 'fp') == p[1] and redis.call('HEXISTS', key, 'job') == 0
      and redis.call('HGET', prefix .. ':run:' .. run_id, 'spec') ~= mine then
      return 'the store lost writes, and another run has the same targets with other options: ' .. other
    end
  end
end
return ''
