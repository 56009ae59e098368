-- Migrate jobs of schema 1, whose indexes had other names, to the present indexes and the queue.
-- ARGV: schema version, then id and webhook host or '' of each job.
local statuses = {'queued', 'processing', 'succeeded', 'failed', 'canceled'}
for i = 2, #ARGV, 2 do
  local id, host = ARGV[i], ARGV[i + 1]
  local key = 'job:' .. id
  local job = redis.call('ZSCORE', 'jobs:all', id) and read(id)
  if job then
    local old_scopes = job.owner == '' and {''} or {'', '@' .. job.owner}
    redis.call('HSET', key, '_schema', ARGV[1])
    if job.webhook then redis.call('HSET', key, '_webhook_host', host) end
    redis.call('HDEL', key, '_ring_at', '_rings', '_lease_until')
    for _, scope in ipairs(scopes_of(job.owner, job.batch)) do
      -- A web server of the earlier version may have changed a job that was already migrated.
      for _, status in ipairs(statuses) do redis.call('ZREM', 'index:' .. status .. scope, id) end
      redis.call('ZADD', 'index:' .. job.status .. scope, 0, id)
      redis.call('ZADD', 'index:all' .. scope, 0, id)
    end
    local expires = redis.call('ZSCORE', 'jobs:expiring', id)
    if expires then redis.call('ZADD', 'expiring', expires, id) end
    if job.status == 'processing' then
      redis.call('ZADD', 'leases', redis.call('ZSCORE', 'jobs:leased', id) or 0, id)
    end
    if job.status == 'queued' then
      requeue(job, job.attempts)
    else
      dequeue({job})
    end
    if job.webhook and job.batch ~= '' and redis.call('EXISTS', 'batch:' .. job.batch) == 1 then
      redis.call('HSET', 'batch:' .. job.batch, 'webhook', job.webhook, 'webhook_host', host)
      if redis.call('SISMEMBER', 'batch-open:' .. job.batch, 'sending') == 0 then
        redis.call('HSETNX', 'batch:' .. job.batch, 'sealed', 1)
      end
    end
    for _, scope in ipairs(old_scopes) do
      redis.call('ZREM', 'jobs:all' .. scope, id)
      for _, status in ipairs(statuses) do redis.call('ZREM', 'jobs:' .. status .. scope, id) end
    end
  end
  redis.call('ZREM', 'jobs:all', id)
  redis.call('ZREM', 'jobs:leased', id)
  redis.call('ZREM', 'jobs:expiring', id)
end
