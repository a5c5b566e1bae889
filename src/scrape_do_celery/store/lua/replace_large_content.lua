--[[ Replace the record of a page that was too large by the page, once.

  KEYS  contents  hash  position -> frame
        part      hash  the record of the part
  ARGV  position, frame, is_success ("1" for a task that succeeded), credits,
        mark (field of the part that notes the replacement)

  Returns 1, or 0 when the page was replaced before, or has expired.
]]
local contents_key, part_key = KEYS[1], KEYS[2]
local position, frame, is_success, credits, mark = unpack(ARGV)

if redis.call('HEXISTS', contents_key, position) == 0 then return 0 end
if redis.call('HSETNX', part_key, mark, 1) == 0 then return 0 end
redis.call('HSET', contents_key, position, frame)
if is_success == '1' then
  redis.call('HINCRBY', part_key, 'stored_failed', -1)
  redis.call('HINCRBY', part_key, 'stored_ok', 1)
end
if credits ~= '0' then redis.call('HINCRBYFLOAT', part_key, 'credits', credits) end
return 1
