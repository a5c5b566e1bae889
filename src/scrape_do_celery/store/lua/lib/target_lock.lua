-- Target locks.
--- @include lib/due
--- @include lib/records

-- Releases the target locks of a part. The next part with the same targets may buy. A part that was bought by an earlier
-- version holds the lock of its fingerprint alone.
local function release_target_lock(prefix, due, part, part_id, account, t)
  local p = redis.call('HMGET', part, 'fingerprint', 'locks')
  for digest in string.gmatch(p[2] or p[1], '%S+') do
    local lock = prefix .. ':target_lock:' .. account .. ':' .. digest
    local waiters = prefix .. ':target_waiters:' .. account .. ':' .. digest
    if redis.call('GET', lock) == part_id then redis.call('DEL', lock) end
    local woken, next_one = false, redis.call('ZPOPMIN', waiters)[1]
    while next_one and not woken do
      if state_of(prefix, next_one) == 'queued' then
        local run_id, n = string.match(next_one, '^(.*):([^:]*)$')
        make_due(due, make_part_key(prefix, run_id, n), next_one, t, 0)
        woken = true
      else
        next_one = redis.call('ZPOPMIN', waiters)[1]
      end
    end
  end
  redis.call('HDEL', part, 'locks')
end
