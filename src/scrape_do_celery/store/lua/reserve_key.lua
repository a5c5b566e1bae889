--[[ Return the run of an idempotency key. If there is none, reserve an id for the run of this request.

  KEYS  idempotency  string  run and digest that have the key
        reservation  string  run and digest that are reserved for it
  ARGV  run_id (for the reservation), digest (of the request)

  Returns {'exists', '<run> <digest>'} or {'reserved', id}.
]]
local idempotency_key, reservation_key = KEYS[1], KEYS[2]
local run_id, digest = unpack(ARGV)

local held = redis.call('GET', idempotency_key)
if held then return {'exists', held} end
local reservation = redis.call('GET', reservation_key) or ''
local reserved_id, reserved_digest = string.match(reservation, '^(.*) (.-)$')
-- Another request holds the reservation. The first of both requests that creates its run gets the key.
if reserved_id and reserved_digest ~= digest then return {'reserved', run_id} end
reserved_id = reserved_id or run_id
redis.call('SET', reservation_key, reserved_id .. ' ' .. digest, 'EX', RESERVATION_TTL)
return {'reserved', reserved_id}
