-- The unresolved purchases of other parts whose targets are like those of a part.
-- KEYS: part  ARGV: member, prefix, account, strict digests (spaces between), then coarse digests ...
-- Returns {parts whose targets are equal (spaces between), number of parts whose targets are similar}. A part whose
-- purchase was never found is among them for as long as it is remembered.
local member, prefix, t = ARGV[1], ARGV[2], now()
local equal, similar, counted = {}, 0, {}
for i = 5, #ARGV do
  local key = prefix .. ':unresolved:' .. ARGV[3] .. ':' .. ARGV[i]
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. stamp(t), '+inf')) do
    local other, strict = string.match(entry, '^(.*):%d+ (.*)$')
    if other ~= member and not counted[other] then
      counted[other] = true
      similar = similar + 1
      if string.find(' ' .. ARGV[4] .. ' ', ' ' .. strict .. ' ', 1, true) then equal[#equal + 1] = other end
    end
  end
end
return {table.concat(equal, ' '), similar}
