-- Functions that several scripts share. Each script runs after these lines; see scripts.py.
-- Times are Unix times in seconds. An owner or batch that there is none of is ''.

-- The time: as given, or Redis' own where '' is given.
local function clock(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local function number(seconds) return string.format('%.6f', seconds) end

-- A member that is a string, from its JSON; '' when it is not there.
local function unquoted(json) return json and string.sub(json, 2, -2) or '' end

local function lane_of(batch) return batch == '' and 'interactive' or 'bulk' end

local function queue_of(lane, owner) return 'queue:' .. lane .. '@' .. owner end

-- In whose indexes a job stands: everybody's, its owner's and its batch's.
local function scopes_of(owner, batch)
  local scopes = {''}
  if owner ~= '' then table.insert(scopes, '@' .. owner) end
  if batch ~= '' then table.insert(scopes, '#' .. batch) end
  return scopes
end

-- What is to be added to and removed from sorted sets, so that many jobs take as few commands as one.
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

local function move(id, from, to, owner, batch)
  for _, scope in ipairs(scopes_of(owner, batch)) do
    remove('index:' .. from .. scope, id)
    add('index:' .. to .. scope, 0, id)
  end
end

-- Have a job wait: behind the older ones of its owner, who takes part in the lane's turns from the present one on.
local function enqueue(id, owner, batch)
  local lane = lane_of(batch)
  redis.call('ZADD', queue_of(lane, owner), 0, id)
  local first = redis.call('ZRANGE', 'turns:' .. lane, 0, 0, 'WITHSCORES')
  redis.call('ZADD', 'turns:' .. lane, 'NX', first[2] or 0, owner)
end

-- Let an owner sit out who has nothing left in the lane.
local function leave_turns(lane, owner)
  if redis.call('EXISTS', queue_of(lane, owner)) == 0 then redis.call('ZREM', 'turns:' .. lane, owner) end
end

-- Have a job that was claimed wait again; one that was held by a lost worker is a suspect.
local function enqueue_again(id, owner, batch, attempts)
  if attempts > 0 then
    redis.call('ZADD', 'queue:suspects', 0, id)
  else
    enqueue(id, owner, batch)
  end
end

-- The members of a job that scripts go by; nil when there is no record.
local function read(id)
  local found = redis.call('HMGET', 'job:' .. id, 'status', '_owner', 'batch', 'attempts', '_token', '_webhook',
    '_webhook_host')
  if not found[1] then return nil end
  return {
    id = id,
    status = unquoted(found[1]),
    owner = found[2] or '',
    batch = unquoted(found[3]),
    attempts = tonumber(found[4]),
    token = found[5],
    webhook = found[6],
    webhook_host = found[7],
  }
end

-- Make the webhook about a job or batch due.
local function announce(about, event, url, host, now)
  redis.call('HSET', 'webhook:' .. about, 'type', event, 'url', url, 'since', number(now))
  redis.call('ZADD', 'webhooks:to:' .. host, number(now), about)
  redis.call('ZADD', 'webhooks:hosts', number(now), host)
end

-- Make a batch's webhook due if all its jobs were sent and none is open.
local function announce_batch(batch, now)
  if redis.call('EXISTS', 'index:queued#' .. batch, 'index:processing#' .. batch) > 0 then return end
  local found = redis.call('HMGET', 'batch:' .. batch, 'sealed', 'webhook', 'webhook_host')
  if found[1] and found[2] then announce(batch, 'batch.completed', found[2], found[3], now) end
end

-- Take waiting jobs out of the queue, wherever in it they wait.
local function dequeue(jobs)
  local left = {}
  for _, job in ipairs(jobs) do
    local lane = lane_of(job.batch)
    remove(queue_of(lane, job.owner), job.id)
    remove('queue:suspects', job.id)
    remove('queue:delayed', job.id)
    left[lane .. '@' .. job.owner] = {lane, job.owner}
  end
  write()
  for _, each in pairs(left) do leave_turns(each[1], each[2]) end
end

-- Bring jobs to their end: `endings` are pairs of a job and a list of the fields to write.
local function finish(endings, now)
  local waiting, batches = {}, {}
  for _, ending in ipairs(endings) do
    local job, fields = ending[1], ending[2]
    table.insert(fields, 'completed_at')
    table.insert(fields, number(now))
    redis.call('HSET', 'job:' .. job.id, unpack(fields))
    local status = unquoted(fields[2])
    move(job.id, job.status, status, job.owner, job.batch)
    if job.status == 'queued' then table.insert(waiting, job) else remove('leases', job.id) end
    redis.call('PUBLISH', 'jobs:ended', job.id)
    if job.webhook and job.batch == '' then
      announce(job.id, 'job.' .. status, job.webhook, job.webhook_host, now)
    elseif job.webhook then
      batches[job.batch] = true
    end
  end
  write()
  if #waiting > 0 then dequeue(waiting) end
  for batch in pairs(batches) do announce_batch(batch, now) end
end

-- Claim one job; its record as a flat list, or false when it does not wait any more. Call `write` after the last.
local function claim(id, owner, token, now, lease_until)
  local record, fields = redis.call('HGETALL', 'job:' .. id), {}
  for place = 1, #record, 2 do fields[record[place]] = record[place + 1] end
  if fields['status'] ~= '"queued"' then return false end
  local changed = {
    'status', '"processing"', 'attempts', tostring(tonumber(fields['attempts']) + 1), 'started_at', number(now),
    '_token', token,
  }
  redis.call('HSET', 'job:' .. id, unpack(changed))
  move(id, 'queued', 'processing', owner, unquoted(fields['batch']))
  add('leases', number(lease_until), id)
  for _, each in ipairs(changed) do table.insert(record, each) end -- the later of two equal names counts
  return record
end
