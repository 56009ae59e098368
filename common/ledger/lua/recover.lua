-- Requeue jobs with expired leases, or fail them after too many attempts; return postponed jobs to their lanes.
-- ARGV: now, lease in seconds, maximum of attempts, JSON of the error of failed jobs, maximum of jobs per step, maximum
-- delay of postponed jobs, maximum of lease lengths that a lease may end ahead unless the clock was set back.
-- Returns the models that jobs wait for ('' for none), each followed by how many can be claimed; of lanes with more
-- owners than the maximum per step, at least that many.
local now, lease, max_attempts, limit = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local lost, failed = redis.call('ZRANGEBYSCORE', 'leases', '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, limit), {}
for i = 1, #lost, 2 do
  local id, lease_until = lost[i], tonumber(lost[i + 1])
  local job = read(id)
  if not job or job.status ~= 'processing' then
    redis.call('ZREM', 'leases', id)
  elseif job.attempts < max_attempts then
    redis.call('HSET', 'job:' .. id, 'status', '"queued"')
    redis.call('HDEL', 'job:' .. id, 'started_at', '_token')
    move(id, 'processing', 'queued', job.owner, job.batch)
    remove('leases', id)
    write()
    requeue(job, job.attempts)
    count('recovery:requeued')
    observe('recovered', '', now - lease_until + lease, SECONDS)
  else
    count('recovery:failed')
    table.insert(failed, {job, {'status', '"failed"', 'error', ARGV[4]}})
  end
end
finish(failed, now)

-- Shorten leases and delays that were dated before the clock was set back.
local ahead = '(' .. number(now + tonumber(ARGV[7]) * lease)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'leases', ahead, '+inf', 'LIMIT', 0, limit)) do
  redis.call('ZADD', 'leases', number(now + lease), id)
end
local delayed = redis.call('ZRANGEBYSCORE', 'queue:delayed', '-inf', number(now), 'LIMIT', 0, limit)
ahead = '(' .. number(now + tonumber(ARGV[6]))
for _, id in ipairs(redis.call('ZRANGEBYSCORE', 'queue:delayed', ahead, '+inf', 'LIMIT', 0, limit)) do
  table.insert(delayed, id)
end
for _, id in ipairs(delayed) do
  local job = read(id)
  redis.call('ZREM', 'queue:delayed', id)
  if job and job.status == 'queued' then requeue(job, job.attempts) end
end
write_counts()

local waiting, models = {}, redis.call('SMEMBERS', 'queue:models')
table.insert(models, '')
for _, model in ipairs(models) do
  local jobs = redis.call('ZCARD', suspects_of(model))
  for _, kind in ipairs({'interactive', 'bulk'}) do
    local lane = lane_for(kind, model)
    for _, owner in ipairs(redis.call('ZRANGE', 'turns:' .. lane, 0, limit - 1)) do
      jobs = jobs + redis.call('ZCARD', queue_of(lane, owner))
    end
  end
  if jobs > 0 then
    table.insert(waiting, model)
    table.insert(waiting, jobs)
  elseif redis.call('EXISTS', 'turns:' .. lane_for('chunks', model)) == 0 then
    redis.call('SREM', 'queue:models', model)
  end
end
return waiting
