--[[ Read the record of a run, without its targets, and the records of its parts.

  KEYS  run  hash  the record of the run
  ARGV  run_id, prefix

  Returns {} if there is no such run, else {fields of the run, fields of each part ...}.
]]
--- @include lib/records
local run_key = KEYS[1]
local run_id, prefix = unpack(ARGV)

local all = redis.call('HGETALL', run_key)
if #all == 0 or all[1] == 'forgotten' then return {} end
local fields, part_count = {}, 0
for i = 1, #all, 2 do
  local name, value = all[i], all[i + 1]
  if string.sub(name, 1, 8) ~= 'targets:' then
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  if name == 'parts' then part_count = tonumber(value) end
end
local reply = {fields}
for n = 0, part_count - 1 do reply[#reply + 1] = redis.call('HGETALL', make_part_key(prefix, run_id, n)) end
return reply
