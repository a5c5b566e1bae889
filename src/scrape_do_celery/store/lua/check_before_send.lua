--[[ Check fence, lease and stop request once more, just before a `POST` leaves.

  KEYS  part  hash  the record of the part
        run   hash  the record of the run
  ARGV  fence, prefix

  Returns a verdict and what belongs to it:
  {"ok", the seconds that are left of the lease}.
  {"lease_lost"}: another step holds the part.
  {"stop_requested"}: the run has a stop request.
  {"bought_before"}: a delivery has proven an earlier purchase of the part.
]]
--- @include lib/clock
--- @include lib/records
--- @include lib/watched
local part_key, run_key = KEYS[1], KEYS[2]
local fence, prefix = unpack(ARGV)

local part = read_fields(part_key, 'fence', 'lease', 'state', 'proven')
if part.fence ~= fence or part.state ~= 'submitting' then return {'lease_lost'} end
if redis.call('HEXISTS', run_key, 'stop_reason') == 1 then return {'stop_requested'} end
if part.proven then return {'bought_before'} end
local _, most = read_watched(prefix, now())
return {'ok', format_time((part.lease or 0) - most)}
