--[[ Hold the page of a task that has not ended, in case that no later answer has more.

  KEYS  provisional  hash  position -> frame of a page that is held back
        part         hash  the record of the part
  ARGV  position, frame, credits ("" if the API charged the task and did not report its cost),
        price_key (the name of its learned price, or "")

  Returns 1, or 0 when the run is gone or the part has ended.
]]
--- @include lib/records
local provisional_key, part_key = KEYS[1], KEYS[2]
local position, frame, credits, price_key = unpack(ARGV)

local part = read_fields(part_key, 'state')
if not part.state or part.state == 'done' then return 0 end
redis.call('HSET', provisional_key, position, frame, position .. ':credits', credits,
  position .. ':price_key', price_key)
redis.call('EXPIRE', provisional_key, HELD_PAGES_TTL)
return 1
