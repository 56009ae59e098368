-- Delete all keys of a job except `known:{id}`. ARGV: now, id, retention.
local now, id, retention = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local key = 'job:' .. id
local job = read(id)
local expires = tonumber(redis.call('ZSCORE', 'expiring', id) or now)
-- Delete first: when Redis is out of memory, a script may write only after its first deletion.
redis.call('ZREM', 'expiring', id)
if not job then return end
local keys = redis.call('HMGET', key, '_cache', '_idempotency')
redis.call('DEL', key)
if keys[1] then redis.call('DEL', keys[1]) end
local entry = keys[2] and redis.call('GET', keys[2])
if entry and cjson.decode(entry).id == id then redis.call('DEL', keys[2]) end
for _, scope in ipairs(scopes_of(job.owner, job.batch)) do
  remove('index:' .. job.status .. scope, id)
  remove('index:all' .. scope, id)
end
remove('leases', id)
write()
if job.status == 'queued' then dequeue({job}) end
count_change(job.batch)
if job.webhook then
  redis.call('DEL', 'webhook:' .. id)
  redis.call('ZREM', 'webhooks:to:' .. job.webhook_host, id)
  redis.call('ZREM', 'webhooks:given-up', id)
  local open = job.status == 'queued' or job.status == 'processing'
  if open and job.batch ~= '' then add_batch_webhook(job.batch, now) end
end
redis.call('SET', 'known:' .. id, job.owner, 'EX', math.max(1, math.floor(expires + retention - now)))
