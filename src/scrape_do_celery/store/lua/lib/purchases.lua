-- Unresolved purchases, registered by their targets.
--- @include lib/clock
--- @include lib/target_lock

-- Counts intents and first sightings of jobs, in one order. No clock does: it may be set back, or be another server's.
local function next_in_order(prefix) return redis.call('INCR', prefix .. ':order') end

-- The registers of unresolved purchases that a part's targets have, and its entry in each: a key by a coarse digest, and
-- the present purchase with the strict digest of the same URLs and its place in the order. A part with equal targets has
-- digests of its distinct targets as well: a server may answer them with one task each.
local function purchase_entries(prefix, part, part_id, account)
  local p, strict, out = redis.call('HMGET', part, 'purchases', 'strict', 'coarse', 'order'), {}, {}
  for digest in string.gmatch(p[2] or '', '%S+') do strict[#strict + 1] = digest end
  for coarse in string.gmatch(p[3] or '', '%S+') do
    local entry = table.concat({part_id .. ':' .. (p[1] or '0'), strict[#out + 1], p[4] or '0'}, ' ')
    out[#out + 1] = {prefix .. ':unresolved:' .. account .. ':' .. coarse, entry}
  end
  return out
end

-- Registers a purchase until a moment under the coarse digests of its targets. A later purchase of similar targets reads
-- there that a job may belong to this one.
local function register_unresolved(prefix, part, part_id, account, until_, t)
  for _, one in ipairs(purchase_entries(prefix, part, part_id, account)) do
    redis.call('ZREMRANGEBYSCORE', one[1], '-inf', format_time(t))
    redis.call('ZADD', one[1], until_, one[2])
    redis.call('EXPIRE', one[1], UNRESOLVED_TTL)
  end
end

-- Close a submit. A purchase that was never found may still appear: for so many seconds nothing with the same targets is
-- taken for another's; for an hour, where two full listings had not shown it.
local function close_submit(prefix, due, part, part_id, seconds, t)
  local p = redis.call('HMGET', part, 'purchase_status', 'account')
  local account = p[2] or ''
  if p[1] == 'in_doubt' or p[1] == 'not_found' then
    local life = tonumber(seconds)
    if p[1] == 'not_found' then life = math.min(life, NOT_FOUND_TTL) end
    register_unresolved(prefix, part, part_id, account, format_time(t + life), t)
  else
    for _, one in ipairs(purchase_entries(prefix, part, part_id, account)) do redis.call('ZREM', one[1], one[2]) end
  end
  release_target_lock(prefix, due, part, part_id, account, t)
  redis.call('HDEL', part, 'strict', 'coarse', 'order')
  if p[1] == 'confirmed' or p[1] == 'adopted' then redis.call('HDEL', part, 'first_order') end
end
