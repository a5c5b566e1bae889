-- Looks through some of the live parts, by the cursor of a scan, for one with the same targets, other options and no
-- job: where the store lost its last writes, intents and locks among them, it may have bought what this part finds.
-- KEYS: part, run, due  ARGV: part id, prefix, cursor, digests of the targets by any version (spaces between)
-- Returns {next cursor, the conflicting part or ''}; the cursor is '0' behind the last.
--- @include lib/records
local part_id, prefix = ARGV[1], ARGV[2]
local mine, digests = options_of(KEYS[2]), ' ' .. ARGV[4] .. ' '
local found = redis.call('ZSCAN', KEYS[3], ARGV[3], 'COUNT', 500)
for i = 1, #found[2], 2 do
  local other = found[2][i]
  local run_id, n = string.match(other, '^(.*):([^:]*)$')
  if other ~= part_id and n ~= 'run' then
    local p = redis.call('HMGET', make_part_key(prefix, run_id, n), 'fingerprint', 'job')
    if p[1] and string.find(digests, ' ' .. p[1] .. ' ', 1, true) and not p[2] and options_of(prefix .. ':run:' .. run_id) ~= mine then
      return {'0', other}
    end
  end
end
return {found[1], ''}
