-- Unresolved purchases, registered by their targets.
--- @include lib/clock
--- @include lib/keys
--- @include lib/records
--- @include lib/target_lock
--- @include lib/watched

-- Count intents and first sightings of jobs, in one order. Clocks cannot give it: a clock may be set back, or
-- be another server's.
local function next_in_order(prefix) return redis.call('INCR', make_key(prefix, 'order')) end

-- Return the registers of unresolved purchases that the targets of a part have, and its entry in each.
-- The key of a register ends with a coarse digest. The entry has the present purchase, the strict digest of
-- the same URLs, and the purchase's position in the order. A part with equal targets has digests of its
-- distinct targets as well: a server may answer them with one task each.
local function purchase_entries(prefix, part_key, part_id, account)
  local part, strict, out = read_fields(part_key, 'purchases', 'strict', 'coarse', 'order'), {}, {}
  for digest in string.gmatch(part.strict or '', '%S+') do strict[#strict + 1] = digest end
  for coarse in string.gmatch(part.coarse or '', '%S+') do
    local purchase = part_id .. ':' .. (part.purchases or '0')
    local entry = table.concat({purchase, strict[#out + 1], part.order or '0'}, ' ')
    out[#out + 1] = {make_key(prefix, 'unresolved', account, coarse), entry}
  end
  return out
end

-- Register a purchase until a moment of the watched clock, under the coarse digests of its targets. A later
-- purchase of similar targets reads there that a job may belong to this one.
local function register_unresolved(prefix, part_key, part_id, account, until_, watched)
  for _, one in ipairs(purchase_entries(prefix, part_key, part_id, account)) do
    local register_key, entry = one[1], one[2]
    redis.call('ZREMRANGEBYSCORE', register_key, '-inf', format_time(watched))
    redis.call('ZADD', register_key, until_, entry)
    redis.call('EXPIRE', register_key, UNRESOLVED_TTL)
  end
end

-- Close a submit. The job of a purchase that was never found may still appear. For `seconds` no other part
-- with the same targets takes such a job for its own. If two full listings did not show the job,
-- `NOT_FOUND_TTL` is enough.
local function close_submit(prefix, due_key, part_key, part_id, seconds, t)
  local part = read_fields(part_key, 'purchase_status', 'account')
  local status, account = part.purchase_status, part.account or ''
  if status == 'in_doubt' or status == 'not_found' then
    local life = tonumber(seconds)
    if status == 'not_found' then life = math.min(life, NOT_FOUND_TTL) end
    local least, most = read_watched(prefix, t)
    register_unresolved(prefix, part_key, part_id, account, format_time(most + life), least)
  else
    for _, one in ipairs(purchase_entries(prefix, part_key, part_id, account)) do
      redis.call('ZREM', one[1], one[2])
    end
  end
  release_target_lock(prefix, due_key, part_key, part_id, account, t)
  redis.call('HDEL', part_key, 'strict', 'coarse', 'order')
  if status == 'confirmed' or status == 'adopted' then redis.call('HDEL', part_key, 'first_order') end
end
