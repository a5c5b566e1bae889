--[[ Scan some of the live parts for one with the same targets, other options and no job.

  If the store lost its last writes, intents and locks among them, such a part may have bought the job that
  this part finds.

  KEYS  run  hash  the record of the run
        due  zset  part id -> when the part needs a step
  ARGV  part_id, prefix, cursor, strict_digests (of the targets with spaces between)

  Returns {next cursor, the conflicting part or ""}. The cursor is "0" behind the last part.
]]
--- @include lib/keys
--- @include lib/records
--- @include lib/runs
local run_key, due_key = KEYS[1], KEYS[2]
local part_id, prefix, cursor, strict_digests = unpack(ARGV)

local own_options = options_of(run_key)
local found = redis.call('ZSCAN', due_key, cursor, 'COUNT', 500)
for i = 1, #found[2], 2 do
  local other_id = found[2][i]
  local run_id, n = string.match(other_id, '^(.*):([^:]*)$')
  if other_id ~= part_id and n ~= 'run' then
    local other = read_fields(make_part_key(prefix, run_id, n), 'fingerprint', 'job')
    local has_targets = other.fingerprint
      and string.find(' ' .. strict_digests .. ' ', ' ' .. other.fingerprint .. ' ', 1, true)
    if has_targets and not other.job and options_of(make_key(prefix, 'run', run_id)) ~= own_options then
      return {'0', other_id}
    end
  end
end
return {found[1], ''}
