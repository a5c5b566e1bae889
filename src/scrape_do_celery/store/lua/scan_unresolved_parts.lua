-- Some of the parts that may have bought a job which no run owns yet, by the cursor of a scan.
-- KEYS: due  ARGV: prefix, cursor
-- Returns {next cursor, {part id, fingerprint, targets} ...}; the cursor is '0' behind the last.
--- @include lib/clock
--- @include lib/epoch
--- @include lib/records
local prefix = ARGV[1]
local epoch, since = store_epoch(prefix, now())
local found = redis.call('ZSCAN', KEYS[1], ARGV[2], 'COUNT', 500)
local out = {found[1]}
for i = 1, #found[2], 2 do
  local part_id = found[2][i]
  local run_id, n = string.match(part_id, '^(.*):([^:]*)$')
  if n ~= 'run' then
    local p = redis.call('HMGET', make_part_key(prefix, run_id, n), 'state', 'fingerprint', 'total', 'checked_epoch')
    local may_own_job = is_unresolved(p[1])
    if p[1] == 'queued' then
      local r = redis.call('HMGET', prefix .. ':run:' .. run_id, 'created', 'epoch')
      may_own_job = may_have_been_sent(epoch, since, p[4], r)
    end
    if may_own_job then out[#out + 1] = {part_id, p[2], p[3]} end
  end
end
return out
