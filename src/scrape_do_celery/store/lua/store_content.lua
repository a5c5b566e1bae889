--[[ Store the content of one task, unless it is stored already.

  KEYS  contents     hash  position -> frame
        part         hash  the record of the part
        provisional  hash  position -> frame of a page that is held back
        deliveries   hash  position or note -> what was delivered
  ARGV  position, frame, counter ("stored_ok" or "stored_failed"),
        credits ("" if the API charged the task and did not report its cost),
        is_gone ("1" or "0"), lacks_page ("1" if the task has no page), prefix, run_id,
        price_key (the name of its learned price, or ""),
        is_answer ("1" if the task replaces a delivered page)

  Returns a result and the number of stored bytes:
  {"stored", bytes}.
  {"replaced", bytes}: as "stored", in place of a delivered page.
  {"known", 0}: the content was there.
  {"gone", 0}: the run is gone, or the part has ended.
]]
--- @include lib/changes
--- @include lib/clock
--- @include lib/contents
--- @include lib/memory
--- @include lib/prices
--- @include lib/records
--- @include lib/spend
local contents_key, part_key, provisional_key, deliveries_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local position, frame, counter, credits, is_gone, lacks_page, prefix, run_id, price_key,
  is_answer = unpack(ARGV)

local part = read_fields(part_key, 'state', 'account')
if not part.state or part.state == 'done' then return {'gone', 0} end
if is_gone == '1' then allow_when_full(part_key) end
-- An answer of the API replaces a delivered page. Without an answer, the page counts as fetched from now on.
local entry = redis.call('HGET', deliveries_key, position)
local was_delivered = entry and not string.match(entry, '^hint ')
if was_delivered and is_answer == '1' then
  remove_delivered(prefix, contents_key, part_key, position, entry)
end
-- A page that an earlier answer held is paid for: it replaces a task without a page.
local has_held, held_credits
if lacks_page == '1' then
  has_held, held_credits = store_held(prefix, provisional_key, contents_key, part_key, position)
end
if has_held then
  credits = held_credits
else
  if redis.call('HSETNX', contents_key, position, frame) == 0 then
    if entry then redis.call('HDEL', deliveries_key, position) end
    return {'known', 0}
  end
  redis.call('HINCRBY', part_key, counter, 1)
  add_credits(prefix, part_key, credits, price_key)
  if is_gone == '1' then redis.call('HINCRBY', part_key, 'gone', 1) end
end
-- Not before: a full store would not refuse a page after a first write that needs no memory.
if entry then redis.call('HDEL', deliveries_key, position) end
-- A page is progress: a step that dies after it does not poison the run.
redis.call('HSET', part_key, 'attempts', 0)
local t = now()
learn_price(prefix, part.account, price_key, to_mc(credits or ''), t)
mark_changed(prefix, run_id, t, CHANGE_DELAY)
return {was_delivered and 'replaced' or 'stored', #frame}
