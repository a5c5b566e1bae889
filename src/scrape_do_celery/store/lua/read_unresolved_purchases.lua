--[[ Read the unresolved purchases of other parts whose targets are like those of a part.

  A part whose purchase was never found is among them for as long as it is remembered.

  KEYS  part  hash  the record of the part
  ARGV  part_id, prefix, account, strict_digests (of the targets with spaces between),
        sighted_order (position of the last job's first sighting in the order), coarse_digests...

  Returns {parts whose targets are equal (spaces between), number of parts whose targets are similar,
  "1" if the store may have lost purchases since the part's own or ""}.
]]
--- @include lib/clock
--- @include lib/epoch
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
--- @include lib/watched
local part_key = KEYS[1]
local part_id, prefix, account, strict_digests, sighted_order = unpack(ARGV)

-- After a restart, the store epoch is written here. A purchase in doubt must be settled on a full store too.
allow_when_full(part_key)
local t = now()
local watched = read_watched(prefix, t)
local equal, is_equal, similar, is_similar = {}, {}, 0, {}

local function note_part(other, has_equal)
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

for i = 6, #ARGV do
  local key = make_key(prefix, 'unresolved', account, ARGV[i])
  local found = redis.call('ZRANGEBYSCORE', key, '(' .. format_time(watched), '+inf')
  for n = 1, #found do
    local other, strict, order = string.match(found[n], '^(.*):%d+ (%S+) (%d+)$')
    -- A purchase behind the sighting has not bought the job.
    if tonumber(order) <= tonumber(sighted_order) then
      note_part(other, string.find(' ' .. strict_digests .. ' ', ' ' .. strict .. ' ', 1, true))
    end
  end
end
local _, _, _, since = store_epoch(prefix, t)
local part = read_fields(part_key, 'watched', 'intent')
return {table.concat(equal, ' '), similar, since > tonumber(part.watched or part.intent or 0) and '1' or ''}
