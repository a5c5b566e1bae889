--[[ Read the ids of the runs of a lineage.

  KEYS  run  hash  the record of one of its runs
  ARGV  run_id, prefix

  Returns {id of the first run, ids of the children ...}, or {} if the run does not exist.
]]
--- @include lib/lineage
local run_key = KEYS[1]
local run_id, prefix = unpack(ARGV)

if redis.call('HEXISTS', run_key, 'parts') == 0 then return {} end
return list_lineage(prefix, run_id)
