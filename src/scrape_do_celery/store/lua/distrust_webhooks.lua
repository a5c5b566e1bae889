--[[ Believe no delivered page of an account from now on.

  KEYS  webhook_trust  hash  the trust in delivered pages of the account
  ARGV  why, nonce (of the command: a command that is sent twice gets the same answer)

  Returns 1, or 0 if another command has turned the trust off before.
]]
--- @include lib/clock
--- @include lib/memory
local webhook_trust_key = KEYS[1]
local why, nonce = unpack(ARGV)

allow_when_full(webhook_trust_key)
if redis.call('HSETNX', webhook_trust_key, 'off', format_time(now())) == 1 then
  redis.call('HSET', webhook_trust_key, 'why', why, 'by', nonce)
end
return redis.call('HGET', webhook_trust_key, 'by') == nonce and 1 or 0
