--[[ Read to which parts a job of the API belongs, or may belong.

  KEYS  owner  string  the part that owns the job
  ARGV  prefix, account, coarse_digest (of the targets of the job or "" if they are not known)

  Returns {the part that owns it or "", "1" if that part has ended or "", the part whose purchase of such
  targets is not resolved or "", the parts that searched for such a job and found none (spaces between)}.
]]
--- @include lib/clock
--- @include lib/keys
--- @include lib/records
--- @include lib/watched
local owner_key = KEYS[1]
local prefix, account, coarse_digest = unpack(ARGV)

local owner = redis.call('GET', owner_key) or ''
local ended = owner ~= '' and (state_of(prefix, owner) or 'done') == 'done'
local claimant, searched = '', {}
local register_key = make_key(prefix, 'unresolved', account, coarse_digest)
local watched = read_watched(prefix, now())
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', register_key, '(' .. format_time(watched), '+inf')) do
  local part_id = string.match(entry, '^(.*):%d+ %S+ %d+$')
  if is_unresolved(state_of(prefix, part_id)) then
    if claimant == '' then claimant = part_id end
  else
    searched[#searched + 1] = part_id
  end
end
return {owner, ended and '1' or '', claimant, table.concat(searched, ' ')}
