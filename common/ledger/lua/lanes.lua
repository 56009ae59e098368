-- Describe what waits. ARGV: now.
-- Returns for each kind of lane, for the suspects and for the chunks of manifests, and for each model that is asked for:
-- the kind, the model ('' for none), the number of waiting jobs or chunks and of owners or batches that they belong to (0
-- for the suspects), and the seconds that the oldest job has waited, as text (0 for chunks).
local now, rows = clock(ARGV[1]), {}

-- The seconds since a job was queued; 0 without a job.
local function waited(id)
  local job = id and read(id)
  return job and job.queued_at and now - job.queued_at or 0
end

local models = redis.call('SMEMBERS', 'queue:models')
table.insert(models, '')
for _, model in ipairs(models) do
  for _, kind in ipairs({'interactive', 'bulk', 'chunks'}) do
    local lane = lane_for(kind, model)
    local waiting, oldest, owners = 0, 0, redis.call('ZRANGE', 'turns:' .. lane, 0, -1)
    for _, owner in ipairs(owners) do
      local queue = queue_of(lane, owner)
      waiting = waiting + redis.call('ZCARD', queue)
      if kind ~= 'chunks' then oldest = math.max(oldest, waited(redis.call('ZRANGE', queue, 0, 0)[1])) end
    end
    table.insert(rows, {kind, model, waiting, #owners, number(oldest)})
  end
  local suspects = suspects_of(model)
  local oldest = waited(redis.call('ZRANGE', suspects, 0, 0)[1])
  table.insert(rows, {'suspects', model, redis.call('ZCARD', suspects), 0, number(oldest)})
end
return rows
