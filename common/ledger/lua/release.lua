-- Requeue claimed jobs without counting the attempt.
-- ARGV: now, first delay in seconds or '', maximum delay in seconds, then id and token of each claim.
-- With a delay, a job cannot be claimed before it ends; the delay doubles each time. Returns the ids of requeued jobs.
local now, min_delay, max_delay, requeued = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for i = 4, #ARGV, 2 do
  local job = read(ARGV[i])
  if job and job.status == 'processing' and job.token == ARGV[i + 1] then
    local key, attempts = 'job:' .. job.id, job.attempts - 1
    redis.call('HSET', key, 'status', '"queued"', 'attempts', attempts)
    redis.call('HDEL', key, 'started_at', '_token')
    move(job.id, 'processing', 'queued', job.owner, job.batch)
    remove('leases', job.id)
    write()
    if min_delay then
      -- The exponent is bounded, as a job may be postponed for days and 2 ^ 1024 overflows a float.
      local times = redis.call('HINCRBY', key, '_postponed', 1) - 1
      local delay = math.min(min_delay * 2 ^ math.min(times, 32), max_delay)
      redis.call('ZADD', 'queue:delayed', number(now + delay), job.id)
    else
      requeue(job, attempts)
    end
    table.insert(requeued, job.id)
  end
end
return requeued
