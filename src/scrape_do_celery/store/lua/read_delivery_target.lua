--[[ Read the part that deliveries of its purchases belong to.

  KEYS  part  hash  the record of the part
        run   hash  the record of its run
  ARGV  n (number of the part)

  Returns the values of the fields that `ReadDeliveryTarget.decode` names, or an empty list if there is no
  such part or a newer version wrote the record.
]]
--- @include lib/records
local part_key, run_key = KEYS[1], KEYS[2]
local n = ARGV[1]

local part = redis.call('HMGET', part_key, 'state', 'purchases', 'total', 'account', 'job', 'tasks',
  'bought_at')
if not part[1] or newer_version(run_key) then return {} end
local run = redis.call('HMGET', run_key, 'key', 'spec', 'targets:' .. n)
for i = 1, 3 do part[7 + i] = run[i] end
return part
