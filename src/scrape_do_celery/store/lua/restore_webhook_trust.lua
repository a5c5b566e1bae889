--[[ Believe delivered pages of an account again. Pages that came before are checked.

  KEYS  webhook_trust  hash  the trust in delivered pages of the account

  Returns 1, or 0 if pages were believed before.
]]
local webhook_trust_key = KEYS[1]

local was_off = redis.call('HDEL', webhook_trust_key, 'off', 'why', 'by') > 0
redis.call('HDEL', webhook_trust_key, 'taken')
-- Steps may not have replaced each page that came before the lie was found.
redis.call('HINCRBY', webhook_trust_key, 'restores', 1)
return was_off and 1 or 0
