-- The ledger.

-- Write the present purchase of a part into the ledger, from its record. A void purchase is struck out.
local function write_ledger(prefix, part, part_id)
  local p = redis.call('HMGET', part, 'intent', 'purchases', 'purchase_status', 'total', 'estimate', 'job', 'credits', 'outcome')
  if not p[1] or not p[3] then return end
  local key, field = string.format('%s:ledger:%d', prefix, math.floor(p[1] / 86400)), part_id .. ':' .. p[2]
  if p[3] == 'void' then
    redis.call('HDEL', key, field)
    -- Said once: what is left are the purchases before it.
    redis.call('HDEL', part, 'purchase_status')
    if redis.call('HINCRBY', part, 'purchases', -1) == 0 then redis.call('HDEL', part, 'first_intent', 'account') end
  else
    redis.call('HSET', key, field,
      table.concat({p[1], p[3], p[4], p[5] or '0', p[6] or '', p[7] or '0', p[8] or ''}, ' '))
    redis.call('EXPIRE', key, LEDGER_TTL)
  end
end
