-- The unresolved purchases of other parts whose targets are like those of a part.
-- KEYS: part
-- ARGV: part id, prefix, account, strict digests, digests of the targets by any version (spaces between),
--       place in the order of the last job's first sighting, then coarse digests ...
-- Returns {parts whose targets are equal (spaces between), number of parts whose targets are similar, '1' where the store
-- may have lost purchases since the part's own}. A part whose purchase was never found is among them for as long as it is
-- remembered. A purchase behind the sighting has not bought the job.
--- @include lib/clock
--- @include lib/epoch
--- @include lib/records
local part_id, prefix, t = ARGV[1], ARGV[2], now()
local equal, is_equal, similar, is_similar = {}, {}, 0, {}
local function note(other, has_equal)
  if other == part_id then return end
  if not is_similar[other] then
    is_similar[other] = true
    similar = similar + 1
  end
  if has_equal and not is_equal[other] then
    is_equal[other] = true
    equal[#equal + 1] = other
  end
end
-- A worker of an earlier version may have resolved the purchase: it knows nothing of this register.
local function is_resolved(other, score)
  local state = score == 'inf' and state_of(prefix, other)
  return state and not is_unresolved(state)
end
for i = 7, #ARGV do
  local key = prefix .. ':unresolved:' .. ARGV[3] .. ':' .. ARGV[i]
  local found = redis.call('ZRANGEBYSCORE', key, '(' .. format_time(t), '+inf', 'WITHSCORES')
  for n = 1, #found, 2 do
    local other, strict, order = string.match(found[n], '^(.*):%d+ (%S+) (%d+)$')
    if tonumber(order) <= tonumber(ARGV[6]) and not is_resolved(other, found[n + 1]) then
      note(other, string.find(' ' .. ARGV[4] .. ' ', ' ' .. strict .. ' ', 1, true))
    end
  end
end
-- What a worker of an earlier version never found.
for digest in string.gmatch(ARGV[5], '%S+') do
  local names = redis.call('GET', prefix .. ':doubt:' .. ARGV[3] .. ':' .. digest) or ''
  for other in string.gmatch(names, '%S+') do note(other, true) end
end
local _, since = store_epoch(prefix, t)
local intent = tonumber(redis.call('HGET', KEYS[1], 'intent') or 0)
return {table.concat(equal, ' '), similar, since > intent and '1' or ''}
