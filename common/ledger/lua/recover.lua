-- Requeue jobs with expired leases, or fail them after too many attempts; return postponed jobs to their lanes.
-- ARGV: now, lease in seconds, maximum of attempts, JSON of the error of failed jobs, maximum of jobs per step, maximum
-- delay of postponed jobs, maximum of lease lengths that a lease may end ahead unless the clock was set back.
-- Returns how many jobs can be claimed.
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
    requeue(id, job.owner, job.batch, job.attempts)
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
  if job and job.status == 'queued' then requeue(id, job.owner, job.batch, job.attempts) end
end
write_counts()
return redis.call('ZCARD', 'index:queued') - redis.call('ZCARD', 'queue:delayed')
