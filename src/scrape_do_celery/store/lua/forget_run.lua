--[[ Free everything that an ended run holds. If a waiter is left, note that the last delivery frees the run.

  If the stop request of a live run is old and the caller lacks a key of its values, nobody can end the run.
  Such a run is freed as it is.

  KEYS  run  hash  the record of the run
        due  zset  part or run -> due time of its next step
  ARGV  run_id, prefix, key_names (of the encryption keys of the caller; spaces between),
        grace (seconds that a stop request is given; "inf" keeps each live run)

  Returns "freed", "unknown" if the run does not exist, "live", or {'newer', the version of the record}.
]]
--- @include lib/budgets
--- @include lib/clock
--- @include lib/due
--- @include lib/encryption
--- @include lib/keys
--- @include lib/memory
--- @include lib/records
--- @include lib/runs
--- @include lib/schedules
--- @include lib/slots
local run_key, due_key = KEYS[1], KEYS[2]
local run_id, prefix, key_names, grace = unpack(ARGV)

local run = read_fields(run_key, 'parts', 'outcome', 'idempotency_key', 'waiting', 'stop_requested_at')
if not run.parts then return 'unknown' end
local newer = newer_version(run_key)
if newer then return {'newer', newer} end
local t = now()
local is_overdue = not run.outcome and run.stop_requested_at and t - run.stop_requested_at >= tonumber(grace)
local is_abandoned = is_overdue and missing_key(run_key, key_names)
if not run.outcome and not is_abandoned then return 'live' end
allow_when_full(run_key)
if is_abandoned then
  for n = 0, tonumber(run.parts) - 1 do
    local part_key, part_id = make_part_key(prefix, run_id, n), run_id .. ':' .. n
    release_slot(prefix, due_key, part_key, part_id, t)
    leave_budget_line(prefix, due_key, part_key, part_id, t)
    -- A job that may run is kept as spent: nobody will read its cost.
    local reservation = read_reservation(part_key, t)
    settle_reservation(prefix, due_key, run_key, run_id, part_key, reservation, reservation.amount,
      reservation.amount, t)
    stop_list_polling(part_key, part_id)
    redis.call('ZREM', due_key, part_id)
    redis.call('ZREM', make_key(prefix, 'content_expiry'), part_id)
  end
  start_next_scheduled(prefix, due_key, run_key, run_id, t)
elseif tonumber(run.waiting) > 0 then
  redis.call('HSET', run_key, 'forget', 1)
  return 'freed'
end
local neighbor = delete_run(due_key, run_key, prefix, run_id, run.parts, run.idempotency_key)
-- A delivery without a waiter lets the rest of the lineage expire.
if is_abandoned and neighbor then redis.call('ZADD', due_key, format_time(t), neighbor .. ':run') end
return 'freed'
