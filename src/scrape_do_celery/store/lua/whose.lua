-- Whose a job of the API is. KEYS: owner  ARGV: prefix, account, fingerprint of its targets ('' where it is not known)
-- Returns {the part that owns it or '', '1' where that part has ended, the part whose purchase of these targets is not
-- resolved or '', the parts that looked for such a job in vain or ''}.
local owner = redis.call('GET', KEYS[1]) or ''
local ended = owner ~= '' and (state_of(ARGV[1], owner) or 'done') == 'done'
local holder = redis.call('GET', ARGV[1] .. ':lock:' .. ARGV[2] .. ':' .. ARGV[3])
if not holder or not is_unresolved(state_of(ARGV[1], holder)) then holder = '' end
local doubt = redis.call('GET', ARGV[1] .. ':doubt:' .. ARGV[2] .. ':' .. ARGV[3]) or ''
return {owner, ended and '1' or '', holder, doubt}
