-- The ledger: write the line of a purchase.
--- @include lib/keys
--- @include lib/records

-- Return a text as a word of a line.
local function make_word(text)
  return (string.gsub(text, '[ %%]', {[' '] = '%20', ['%'] = '%25'}))
end

-- Return what the line of a purchase tells of its run: tags, label and hosts. The hosts are as the JSON of
-- the summary writes them: a quote in another value of the summary has a backslash before it.
local function describe_run(run_key)
  local run = read_fields(run_key, 'tags', 'label', 'summary')
  return string.gsub(run.tags or '', ' ', ','), make_word(run.label or ''),
    make_word(string.match(run.summary or '', '"host":"([^"]*)"') or '')
end

-- Write the present purchase of a part into the ledger, from its record. A void purchase is struck out.
local function write_ledger(prefix, part_key, part_id)
  local part = read_fields(part_key,
    'intent', 'purchases', 'purchase_status', 'total', 'price', 'estimate', 'job', 'credits', 'outcome')
  if not part.intent or not part.purchase_status then return end
  local key = make_key(prefix, 'ledger', math.floor(part.intent / SECONDS_PER_DAY))
  local field = part_id .. ':' .. part.purchases
  if part.purchase_status == 'void' then
    redis.call('HDEL', key, field)
    -- Strike the purchase out once: the number that is left counts the purchases before it.
    redis.call('HDEL', part_key, 'purchase_status')
    if redis.call('HINCRBY', part_key, 'purchases', -1) == 0 then
      redis.call('HDEL', part_key, 'first_intent', 'first_watched', 'account')
    end
  else
    -- A part of an older version has its estimate in credits.
    local estimate = part.price and part.price / MC_PER_CREDIT or part.estimate or '0'
    local line = {part.intent, part.purchase_status, part.total, estimate, part.job or '',
      part.credits or '0', part.outcome or ''}
    local run_id = string.match(part_id, '^(.*):')
    line[8], line[9], line[10] = describe_run(make_key(prefix, 'run', run_id))
    redis.call('HSET', key, field, table.concat(line, ' '))
    redis.call('EXPIRE', key, LEDGER_TTL)
  end
end
