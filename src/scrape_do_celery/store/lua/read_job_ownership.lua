-- Whose a job of the API is. KEYS: owner  ARGV: prefix, account, coarse digest of its targets ('' where it is not known)
-- Returns {the part that owns it or '', '1' where that part has ended, the part whose purchase of such targets is not
-- resolved or '', the parts that searched for such a job in vain (spaces between)}.
--- @include lib/clock
--- @include lib/records
local owner = redis.call('GET', KEYS[1]) or ''
local ended = owner ~= '' and (state_of(ARGV[1], owner) or 'done') == 'done'
local claimant, searched = '', {}
local key = ARGV[1] .. ':unresolved:' .. ARGV[2] .. ':' .. ARGV[3]
for _, entry in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. format_time(now()), '+inf')) do
  local part_id = string.match(entry, '^(.*):%d+ %S+ %d+$')
  if is_unresolved(state_of(ARGV[1], part_id)) then
    if claimant == '' then claimant = part_id end
  else
    searched[#searched + 1] = part_id
  end
end
return {owner, ended and '1' or '', claimant, table.concat(searched, ' ')}
