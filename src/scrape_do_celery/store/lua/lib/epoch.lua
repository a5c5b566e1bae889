-- The store epoch: notice that the store may have lost writes, and which parts may have been sent.
--- @include lib/clock
--- @include lib/keys
--- @include lib/watched

-- Return a section of INFO; an empty text if the server refuses it.
local function read_section(name)
  local info = redis.pcall('INFO', name)
  return type(info) == 'string' and info or ''
end

-- Return whether a process has read the append-only file when it started, and still writes it. A process that
-- read another file starts its append-only file with a rewrite.
local function has_read_log(persistence)
  return string.find(persistence, 'aof_enabled:1', 1, true)
    and not string.find(persistence, 'aof_rewrite_[%w_]+:1')
    and string.find(persistence, 'aof_last_rewrite_time_sec:-1', 1, true)
end

-- Return whether a process has all writes of the process `known`, which synced every write. A dump is older
-- than the last writes. A process that was a replica has the data of another server, perhaps of long ago. The
-- first replica of a process changes its replication id too, and takes nothing away.
local function has_all_writes(known, process, replication)
  return string.find(replication, 'master_replid2:0+%s')
    and (string.sub(known, 1, #process) == process or has_read_log(read_section('persistence')))
end

-- Return whether this process may lose a write at a restart, as far as scripts see. A script cannot see how
-- the process syncs its writes.
local function may_lose_writes(replication)
  return not (string.find(replication, 'role:master', 1, true)
    and string.find(replication, 'connected_slaves:0', 1, true)
    and string.find(replication, 'repl_backlog_active:0', 1, true)
    and string.find(read_section('persistence'), 'aof_enabled:1', 1, true))
end

-- Return the store epoch, when it began, whether its durability is settled, and when it began by the watched
-- clock. A new epoch begins when the server process changes (restart or failover), unless the previous
-- process synced every write and this one has read them. Writes of an older epoch may be missing. A server
-- that does not tell its id may have been restarted at any time. `durable_process` is nil, or the id of the
-- process that syncs every write ('' for none), as the caller has seen it a moment ago. The third value is
-- false for `DURABILITY_DELAY` seconds after a process has ceased to be durable. The note of that change is
-- itself written without a sync. An intent written beside the note could be lost with it.
local function store_epoch(prefix, t, durable_process)
  local process = string.match(read_section('server'), 'run_id:(%x+)')
  local least, most = read_watched(prefix, t)
  if not process then return 'unknown', t, true, most end
  -- A server that was demoted and promoted again is the same process, and may lack writes. Each promotion
  -- changes the replication id.
  local replication, id = read_section('replication'), process
  local replid = string.match(replication, 'master_replid:(%x+)')
  if replid then id = process .. '-' .. string.sub(replid, 1, 12) end
  local previous = redis.call('GET', make_key(prefix, 'epoch')) or ''
  -- `durable_mark` is '1' while the process is durable, else the time at which it ceased to be.
  -- A note of an earlier version of this package has no time by the watched clock.
  local known, since, epoch, durable_mark, watched =
    string.match(previous, '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
  if known ~= id then
    -- A store without a previous note may have lost just that. A server may come back, so its id alone names
    -- no epoch.
    if durable_mark == '1' and has_all_writes(known, process, replication) then
      -- The note of the durable process stays on disk until this one is synced. If it came back, an intent
      -- that was lost with this note would look as if it had never been written.
      durable_mark = format_time(most)
    else
      since, epoch, watched = format_time(t), id .. '@' .. format_time(t), format_time(most)
      durable_mark = '0'
    end
  end
  if durable_process == process and not may_lose_writes(replication) then
    durable_mark = '1'
  elseif durable_process and durable_mark == '1' then
    -- Another process, perhaps behind the same address, says nothing about this one.
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
