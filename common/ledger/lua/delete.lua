-- Remove every trace of a job but the mark that its id was known. ARGV: now, id, retention.
local now, id, retention = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local key = 'job:' .. id
local job = read(id)
local expires = tonumber(redis.call('ZSCORE', 'expiring', id) or now)
-- Deletions first: when Redis' memory is full, a script may still write, but not begin with it.
redis.call('ZREM', 'expiring', id)
if not job then return end
local traces = redis.call('HMGET', key, '_cache', '_idempotency')
redis.call('DEL', key)
if traces[1] then redis.call('DEL', traces[1]) end
local entry = traces[2] and redis.call('GET', traces[2])
if entry and cjson.decode(entry).id == id then redis.call('DEL', traces[2]) end
for _, scope in ipairs(scopes_of(job.owner, job.batch)) do
  remove('index:' .. job.status .. scope, id)
  remove('index:all' .. scope, id)
end
remove('leases', id)
write()
if job.status == 'queued' then dequeue({job}) end
if job.webhook then
  redis.call('DEL', 'webhook:' .. id)
  redis.call('ZREM', 'webhooks:to:' .. job.webhook_host, id)
  redis.call('ZREM', 'webhooks:given-up', id)
  local open = job.status == 'queued' or job.status == 'processing'
  if open and job.batch ~= '' then announce_batch(job.batch, now) end
end
redis.call('SET', 'known:' .. id, job.owner, 'EX', math.max(1, math.floor(expires + retention - now)))
