-- What shows why runs wait: facts of the server and its workers, and the refusal of a token.
--- @include lib/clock
--- @include lib/keys
--- @include lib/records

-- Return figures of the server, each '' if the user may not read it.
local function read_info(section, ...)
  local info, figures = redis.pcall('INFO', section), {}
  for i, name in ipairs({...}) do
    figures[i] = type(info) == 'string' and string.match(info, name .. ':([%w-]+)') or ''
  end
  return unpack(figures)
end

-- Return {now, watched clock, seconds since the start of the server or '', '1' if a worker serves the store,
-- end of the pause or '', used memory, limit of memory, policy}.
local function read_store_facts(t, watched, namespace_owner_key, pause_key)
  return {
    format_time(t), format_time(watched), (read_info('server', 'uptime_in_seconds')),
    tostring(redis.call('EXISTS', namespace_owner_key)), redis.call('GET', pause_key) or '',
    read_info('memory', 'used_memory', 'maxmemory', 'maxmemory_policy'),
  }
end

-- Return since when the token of an account is refused, when the runs that wait for it fail, and its
-- fingerprint; each '' if not known. `least` is the least that the watched clock may show: the clock of the
-- server counts no outage of the workers, and `claim_part` ends runs by the watched clock.
local function read_refusal(prefix, account, t, least)
  local breaker = read_fields(make_key(prefix, 'breaker', account), 'since', 'watched', 'grace', 'token')
  local refused_for = breaker.since and least - (breaker.watched or breaker.since)
  local fails_at = breaker.grace and format_time(t + breaker.grace - refused_for) or ''
  return breaker.since or '', fails_at, breaker.token or ''
end
