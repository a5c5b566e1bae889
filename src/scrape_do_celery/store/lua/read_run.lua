-- One look at a run. KEYS: run  ARGV: run id, prefix
-- Returns {} when there is none, else {run fields without targets, part fields, part fields, ...}.
--- @include lib/records
local all = redis.call('HGETALL', KEYS[1])
if #all == 0 or all[1] == 'forgotten' then return {} end
local fields, parts = {}, 0
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 8) ~= 'targets:' then
    fields[#fields + 1] = all[i]
    fields[#fields + 1] = all[i + 1]
  end
  if all[i] == 'parts' then parts = tonumber(all[i + 1]) end
end
local out = {fields}
for n = 0, parts - 1 do out[#out + 1] = redis.call('HGETALL', make_part_key(ARGV[2], ARGV[1], n)) end
return out
