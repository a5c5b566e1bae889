-- Target locks: release them, so that the next part with these targets may buy.
--- @include lib/due
--- @include lib/keys
--- @include lib/records

-- Release the target locks of a part. The next part with the same targets may buy.
local function release_target_lock(prefix, due_key, part_key, part_id, account, t)
  local locks = redis.call('HGET', part_key, 'locks') or ''
  for digest in string.gmatch(locks, '%S+') do
    local lock_key = make_key(prefix, 'target_lock', account, digest)
    local waiters_key = make_key(prefix, 'target_waiters', account, digest)
    if redis.call('GET', lock_key) == part_id then redis.call('DEL', lock_key) end
    local woken, next_id = false, redis.call('ZPOPMIN', waiters_key)[1]
    while next_id and not woken do
      if state_of(prefix, next_id) == 'queued' then
        local run_id, n = string.match(next_id, '^(.*):([^:]*)$')
        make_due(due_key, make_part_key(prefix, run_id, n), next_id, t, 0)
        woken = true
      else
        next_id = redis.call('ZPOPMIN', waiters_key)[1]
      end
    end
  end
  redis.call('HDEL', part_key, 'locks')
end
