--[[ Scan one page of the parts for parts that may have bought a job that no run owns yet.

  KEYS  due  zset  part id -> when the part needs a step
  ARGV  prefix, cursor

  Returns {next cursor, {part id, fingerprint, number of targets}, ...}.
  The cursor is "0" behind the last part.
]]
--- @include lib/clock
--- @include lib/epoch
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
local due_key = KEYS[1]
local prefix, cursor = unpack(ARGV)

-- After a restart, the store epoch is written here.
allow_when_full(due_key .. ':')
local epoch, since = store_epoch(prefix, now())
local found = redis.call('ZSCAN', due_key, cursor, 'COUNT', 500)
local out = {found[1]}
for i = 1, #found[2], 2 do
  local part_id = found[2][i]
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  if n ~= 'run' then
    local part_key = make_part_key(prefix, run_id, n)
    local part = read_fields(part_key, 'state', 'fingerprint', 'total', 'checked_epoch', 'proven')
    local may_own_job = is_unresolved(part.state)
    if part.state == 'queued' then
      local run = read_fields(make_key(prefix, 'run', run_id), 'created', 'epoch')
      local creation = {run.created, run.epoch}
      may_own_job = part.proven or may_have_been_sent(epoch, since, part.checked_epoch, creation)
    end
    if may_own_job then out[#out + 1] = {part_id, part.fingerprint, part.total} end
  end
end
return out
