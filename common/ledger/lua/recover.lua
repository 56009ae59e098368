-- Have the jobs of silent workers wait again, or fail after too many attempts; let postponed jobs wait in their lanes.
-- ARGV: now, seconds of a lease, most attempts, JSON of the error of those that fail, most jobs, the longest pause, by
-- how many leases' lengths no lease is ahead unless the clock was set back. Returns how many jobs can be claimed.
local now, lease, most_attempts, limit = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local lost, failed = redis.call('ZRANGEBYSCORE', 'leases', '-inf', number(now), 'LIMIT', 0, limit), {}
for _, id in ipairs(lost) do
  local job = read(id)
  if not job or job.status ~= 'processing' then
    redis.call('ZREM', 'leases', id)
  elseif job.attempts < most_attempts then
    redis.call('HSET', 'job:' .. id, 'status', '"queued"')
    redis.call('HDEL', 'job:' .. id, 'started_at', '_token')
    move(id, 'processing', 'queued', job.owner, job.batch)
    remove('leases', id)
    write()
    enqueue_again(id, job.owner, job.batch, job.attempts)
  else
    table.insert(failed, {job, {'status', '"failed"', 'error', ARGV[4]}})
  end
end
finish(failed, now)

-- Leases and pauses that were dated before the clock was set back.
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
  if job and job.status == 'queued' then enqueue_again(id, job.owner, job.batch, job.attempts) end
end
return redis.call('ZCARD', 'index:queued') - redis.call('ZCARD', 'queue:delayed')
