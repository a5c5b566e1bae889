--[[ Drop hints and notes of a part that are treated. Marks of delivered pages stay.

  KEYS  deliveries  hash  position or note -> what was delivered
  ARGV  fields... (positions and names of notes)

  Returns the number of dropped entries.
]]
local deliveries_key = KEYS[1]

local dropped = 0
for _, field in ipairs(ARGV) do
  -- A page may have come since: a fetched page would not replace it without its mark.
  local kind = string.match(redis.call('HGET', deliveries_key, field) or '', '^%S*')
  if kind ~= 'page' and kind ~= 'check' then
    dropped = dropped + redis.call('HDEL', deliveries_key, field)
  end
end
return dropped
