--[[ Read what would hold back a run that is enqueued now. If asked, prove first that the store takes writes.

  KEYS  rights_check     any     the key of the write; it does not outlive the script
        namespace_owner  string  the application whose workers serve the store
        pause            string  until when no API call is made
        accounts         set     the accounts for which jobs were, or are, bought
  ARGV  prefix, account (of the caller, or '' for all accounts), with_write ("1" to write)

  Returns what `read_run` returns as the last element for a live run, with an entry for each account.
]]
--- @include lib/clock
--- @include lib/waits
--- @include lib/watched
local rights_check_key, namespace_owner_key, pause_key, accounts_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local prefix, account, with_write = unpack(ARGV)

if with_write == '1' then
  -- A full store lets DEL through, and then each write of the script: SET comes first.
  redis.call('SET', rights_check_key, 1, 'EX', 60)
  redis.call('DEL', rights_check_key)
end
local t = now()
local least, most = read_watched(prefix, t)
local waits = read_store_facts(t, most, namespace_owner_key, pause_key)
for n, name in ipairs(account == '' and redis.call('SMEMBERS', accounts_key) or {account}) do
  local refused_since, fails_at, token = read_refusal(prefix, name, t, least)
  waits[#waits + 1] = {n, refused_since, fails_at, token, '', ''}
end
return waits
