--[[ Renew the lease of a part. Never shorten a lease, and never take back a lease that was given up.

  KEYS  part  hash  the record of the part
  ARGV  fence, lease_seconds, prefix

  Returns 1, or 0 when another step has claimed the part.
]]
--- @include lib/clock
--- @include lib/memory
--- @include lib/records
--- @include lib/watched
local part_key = KEYS[1]
local fence, lease_seconds, prefix = unpack(ARGV)

local part = read_fields(part_key, 'fence', 'lease', 'token')
if part.fence ~= fence then return 0 end
allow_when_full(part_key)
-- A part without a token was given up.
if part.token and part.token ~= '' then
  local _, most = read_watched(prefix, now())
  local lease = math.max(tonumber(part.lease or 0), most + lease_seconds)
  redis.call('HSET', part_key, 'lease', format_time(lease))
end
return 1
