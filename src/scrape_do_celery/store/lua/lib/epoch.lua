-- The store epoch: notice that the store may have lost writes, and which parts may have been sent.
--- @include lib/clock
--- @include lib/keys
--- @include lib/watched

-- Return the store epoch, when it began, whether its durability is settled, and when it began by the watched
-- clock. A new epoch begins when the server process changes (restart or failover), unless the previous
-- process synced every write. Writes of an older epoch may be missing. A server that does not tell its id may
-- have been restarted at any time. `durable` is '1' or '' if the caller knows whether the present process
-- syncs every write, else nil. The third value is false for `DURABILITY_DELAY` seconds after a process has
-- ceased to be durable. The note of that change is itself written without a sync. An intent written beside
-- the note could be lost with it.
local function store_epoch(prefix, t, durable)
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  local least, most = read_watched(prefix, t)
  if not id then return 'unknown', t, true, most end
  -- A server that was demoted and promoted again is the same process, and may lack writes. Each promotion
  -- changes the replication id.
  local replication = redis.pcall('INFO', 'replication')
  local replid = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)')
  if replid then id = id .. '-' .. string.sub(replid, 1, 12) end
  local previous = redis.call('GET', make_key(prefix, 'epoch')) or ''
  -- `durable_mark` is '1' while the process is durable, else the time at which it ceased to be.
  -- A note of an earlier version of this package has no time by the watched clock.
  local known, since, epoch, durable_mark, watched =
    string.match(previous, '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
  if known ~= id then
    -- A store without a previous note may have lost just that. A server may come back, so its id alone names
    -- no epoch.
    if durable_mark == '1' then
      -- The note of the durable process stays on disk until this one is synced. If it came back, an intent
      -- that was lost with this note would look as if it had never been written.
      durable_mark = format_time(most)
    else
      since, epoch, watched = format_time(t), id .. '@' .. format_time(t), format_time(most)
      durable_mark = '0'
    end
  end
  if durable == '1' then
    durable_mark = '1'
  elseif durable and durable_mark == '1' then
    durable_mark = format_time(most)
  end
  if watched == '' then watched = since end
  local current = table.concat({id, since, epoch, durable_mark, watched}, ' ')
  if current ~= previous then redis.call('SET', make_key(prefix, 'epoch'), current) end
  local is_settled = durable_mark == '1' or least - durable_mark >= DURABILITY_DELAY
  return epoch, tonumber(since), is_settled, tonumber(watched)
end

-- Return the short form of an epoch that a run keeps in its record.
local function epoch_tag(epoch) return string.sub(epoch, 1, 6) .. (string.match(epoch, '@.*') or '') end

-- Return whether a queued part may have been bought all the same: its intent was lost with the last writes of
-- the store. `checked` is the epoch for which the job was searched for. `run` has the time when the run was
-- created, and the epoch then. If that epoch is known, the times of two servers are not compared.
local function may_have_been_sent(epoch, since, checked, run)
  local created, run_epoch = run[1], run[2]
  if checked == epoch then return false end
  if not run_epoch then return created and tonumber(created) < since end
  return epoch == 'unknown' or run_epoch ~= epoch_tag(epoch)
end
