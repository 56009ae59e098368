-- Shared functions; scripts.py prepends this file to each script, and the bounds of the histograms to this file.
-- Times are Unix times in seconds. A missing owner, batch or model is ''.

-- The argument as a number, or the time of Redis if it is ''.
local function clock(argument)
  if argument ~= '' then return tonumber(argument) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function number(seconds) return string.format('%.6f', seconds) end

-- Decode a JSON string without escapes; '' if the field is missing.
local function unquoted(json) return json and string.sub(json, 2, -2) or '' end

-- The lane of what asks for a model, or for none.
local function lane_for(kind, model) return model == '' and kind or kind .. ':' .. model end

-- The lanes of which a worker with this model takes the jobs: those that ask for no model, and those that ask for its.
local function lanes_of_worker(kind, model)
  if model == '' then return {kind} end
  return {kind, lane_for(kind, model)}
end

local function lane_of(job) return lane_for(job.batch == '' and 'interactive' or 'bulk', job.model) end

local function suspects_of(model) return lane_for('queue:suspects', model) end

local function queue_of(lane, owner) return 'queue:' .. lane .. '@' .. owner end

-- The index scopes of a job: all jobs, its owner and its batch.
local function scopes_of(owner, batch)
  local scopes = {''}
  if owner ~= '' then table.insert(scopes, '@' .. owner) end
  if batch ~= '' then table.insert(scopes, '#' .. batch) end
  return scopes
end

-- Pending changes of sorted sets, so that many jobs need as few commands as one. `write` applies them.
local added, removed = {}, {}

local function add(key, score, member)
  added[key] = added[key] or {}
  table.insert(added[key], score)
  table.insert(added[key], member)
end

local function remove(key, member)
  removed[key] = removed[key] or {}
  table.insert(removed[key], member)
end

local function write()
  for key, members in pairs(removed) do redis.call('ZREM', key, unpack(members)) end
  for key, members in pairs(added) do redis.call('ZADD', key, unpack(members)) end
  added, removed = {}, {}
end

-- Pending increments of the hash `metrics`. `write_counts` applies them with at most two commands.
local counted = {}

local function count(field, by) counted[field] = (counted[field] or 0) + (by or 1) end

-- Count a value in a histogram: in the bucket of the smallest bound that is not below it, and in the sum.
-- The sum is in thousandths.
local function observe(histogram, label, value, bounds)
  local bucket = 'inf'
  for _, bound in ipairs(bounds) do
    if value <= bound then
      bucket = tostring(bound)
      break
    end
  end
  count(histogram .. ':' .. bucket .. ':' .. label)
  count(histogram .. ':sum:' .. label, math.floor(math.max(value, 0) * 1000 + 0.5))
end

local function write_counts()
  local fields, changed = {}, {}
  for field in pairs(counted) do table.insert(fields, field) end
  if #fields == 1 then
    redis.call('HINCRBY', 'metrics', fields[1], counted[fields[1]])
  elseif #fields > 1 then
    local values = redis.call('HMGET', 'metrics', unpack(fields))
    for i, field in ipairs(fields) do
      table.insert(changed, field)
      table.insert(changed, string.format('%.0f', (tonumber(values[i]) or 0) + counted[field]))
    end
    redis.call('HSET', 'metrics', unpack(changed))
  end
  counted = {}
end

local function move(id, from, to, owner, batch)
  for _, scope in ipairs(scopes_of(owner, batch)) do
    remove('index:' .. from .. scope, id)
    add('index:' .. to .. scope, 0, id)
  end
end

-- Let a job or chunk wait in its owner's queue in a lane, a new owner behind all others. Returns whether it is new.
local function enter(lane, owner, score, id, model)
  redis.call('ZADD', queue_of(lane, owner), score, id)
  if redis.call('ZSCORE', 'turns:' .. lane, owner) then return false end
  redis.call('ZADD', 'turns:' .. lane, redis.call('INCR', 'turn'), owner)
  if model ~= '' then redis.call('SADD', 'queue:models', model) end
  return true
end

-- Queue a job behind its owner's older jobs. Returns whether its owner had no other job waiting in the lane.
local function enqueue(job) return enter(lane_of(job), job.owner, 0, job.id, job.model) end

-- Remove an owner without waiting jobs or chunks from the lane's turns.
local function leave_turns(lane, owner)
  if redis.call('EXISTS', queue_of(lane, owner)) == 0 then redis.call('ZREM', 'turns:' .. lane, owner) end
end

-- Requeue a job that was claimed. With counted attempts a lost worker had held it: it is a suspect.
local function requeue(job, attempts)
  if attempts == 0 then
    enqueue(job)
  else
    redis.call('ZADD', suspects_of(job.model), 0, job.id)
    if job.model ~= '' then redis.call('SADD', 'queue:models', job.model) end
  end
end

-- The fields of a job that scripts need; nil if it has no record.
local function read(id)
  local fields = redis.call('HMGET', 'job:' .. id, 'status', '_owner', 'batch', 'attempts', '_token', '_webhook',
    '_webhook_host', 'created_at', 'started_at', '_queued_at', '_first', '_model')
  if not fields[1] then return nil end
  return {
    id = id,
    status = unquoted(fields[1]),
    owner = fields[2] or '',
    batch = unquoted(fields[3]),
    attempts = tonumber(fields[4]),
    token = fields[5],
    webhook = fields[6],
    webhook_host = fields[7],
    queued_at = tonumber(fields[10] or fields[8]),
    started_at = tonumber(fields[9]),
    first = fields[11],
    model = fields[12] or '',
  }
end

-- Create a due webhook event of a job or batch.
local function add_webhook(subject, event, url, host, now)
  redis.call('HSET', 'webhook:' .. subject, 'type', event, 'url', url, 'since', number(now))
  redis.call('ZADD', 'webhooks:to:' .. host, number(now), subject)
  redis.call('ZADD', 'webhooks:hosts', number(now), host)
end

-- Create the webhook event of a batch if the batch is sealed and none of its jobs and chunks is open.
local function add_batch_webhook(batch, now)
  if redis.call('EXISTS', 'index:queued#' .. batch, 'index:processing#' .. batch) > 0 then return end
  local fields = redis.call('HMGET', 'batch:' .. batch, 'sealed', 'webhook', 'webhook_host', 'manifest_chunks',
    'manifest_chunks_done', 'manifest_chunks_failed', 'manifest_chunks_canceled')
  local ended = (fields[5] or 0) + (fields[6] or 0) + (fields[7] or 0)
  if tonumber(fields[4] or 0) > ended then return end
  if fields[1] == '1' and fields[2] then add_webhook(batch, 'batch.completed', fields[2], fields[3], now) end
end

-- Remove waiting jobs from the queue, the suspects and the delayed jobs.
local function dequeue(jobs)
  local owners = {}
  for _, job in ipairs(jobs) do
    local lane = lane_of(job)
    remove(queue_of(lane, job.owner), job.id)
    remove(suspects_of(job.model), job.id)
    remove('queue:delayed', job.id)
    owners[lane .. '@' .. job.owner] = {lane, job.owner}
  end
  write()
  for _, pair in pairs(owners) do leave_turns(pair[1], pair[2]) end
end

-- Count a change of a batch's ended jobs, unless the batch's record has expired. A missing batch is ''.
local function count_change(batch)
  if batch ~= '' and redis.call('EXISTS', 'batch:' .. batch) == 1 then
    redis.call('HINCRBY', 'batch:' .. batch, 'version', 1)
  end
end

-- Count an ended job. `failure` is the JSON of its error, if it has one.
local function count_ended(job, status, failure, now)
  local lane = lane_of(job)
  count('ended:' .. status .. ':' .. lane)
  if status == 'failed' then count('failed:' .. cjson.decode(failure).type) end
  if status == 'canceled' or not job.queued_at then return end -- schema 1 had times in another format
  observe('job', lane, now - job.queued_at, SECONDS)
  if job.started_at and job.attempts == 1 then
    local waited = job.started_at - job.queued_at
    observe('queue', lane, waited, SECONDS)
    if job.first then observe('turn', lane, waited, SECONDS) end
  end
end

-- End jobs. `endings` are pairs of a job and a flat list of the fields to write: the status first, then its error or
-- the model's output.
local function finish(endings, now)
  local waiting, batches, changed = {}, {}, {}
  for _, ending in ipairs(endings) do
    local job, fields = ending[1], ending[2]
    table.insert(fields, 'completed_at')
    table.insert(fields, number(now))
    redis.call('HSET', 'job:' .. job.id, unpack(fields))
    local status = unquoted(fields[2])
    count_ended(job, status, fields[4], now)
    move(job.id, job.status, status, job.owner, job.batch)
    if job.status == 'queued' then table.insert(waiting, job) else remove('leases', job.id) end
    redis.call('PUBLISH', 'jobs:ended', job.id)
    changed[job.batch] = true
    if job.webhook and job.batch == '' then
      add_webhook(job.id, 'job.' .. status, job.webhook, job.webhook_host, now)
    elseif job.webhook then
      batches[job.batch] = true
    end
  end
  write()
  if #waiting > 0 then dequeue(waiting) end
  for batch in pairs(batches) do add_batch_webhook(batch, now) end
  for batch in pairs(changed) do count_change(batch) end
  write_counts()
end

-- Claim one job; returns its record as a flat list, or false if it is no longer queued. Call `write` after the last.
local function claim(id, owner, token, now, lease_until)
  local record, fields = redis.call('HGETALL', 'job:' .. id), {}
  for i = 1, #record, 2 do fields[record[i]] = record[i + 1] end
  if fields['status'] ~= '"queued"' then return false end
  local changed = {
    'status', '"processing"', 'attempts', tostring(tonumber(fields['attempts']) + 1), 'started_at', number(now),
    '_token', token,
  }
  redis.call('HSET', 'job:' .. id, unpack(changed))
  move(id, 'queued', 'processing', owner, unquoted(fields['batch']))
  add('leases', number(lease_until), id)
  for _, value in ipairs(changed) do table.insert(record, value) end -- the last of equal names wins
  return record
end

-- Claim one archive, manifest or chunk. Returns {id, record before the claim as a flat list}, or false without a record.
-- `leases` is the key of its lease, `key` that of its record, and `field` the beginning of its fields' names.
local function claim_record(leases, id, key, field, status, token, lease_until)
  local record = redis.call('HGETALL', key)
  if #record == 0 then
    redis.call('ZREM', leases, id)
    return false
  end
  redis.call('HSET', key, field .. 'status', status, field .. 'token', token)
  redis.call('HINCRBY', key, field .. 'attempts', 1)
  redis.call('ZADD', leases, number(lease_until), id)
  return {id, record}
end

-- The lane of a chunk, whose name is also the key of the leases. `key` is the chunk's.
local function lane_of_chunk(key) return lane_for('chunks', redis.call('HGET', key, 'model') or '') end

-- Remove a chunk from its queue.
local function dequeue_chunk(lane, batch, id)
  redis.call('ZREM', queue_of(lane, batch), id)
  leave_turns(lane, batch)
end
