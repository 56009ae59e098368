-- Delete all keys of a batch except `known:{id}`; its jobs and chunks are not changed. ARGV: id.
local id = ARGV[1]
local fields = redis.call('HMGET', 'batch:' .. id, 'owner', 'webhook_host')
-- Delete first: when Redis is out of memory, a script may write only after its first deletion.
redis.call('DEL', 'batch:' .. id, 'webhook:' .. id)
for _, key in ipairs({'expiring:batches', 'deadlines:batches', 'archives', 'manifests', 'webhooks:given-up'}) do
  redis.call('ZREM', key, id)
end
for _, scope in ipairs(scopes_of(fields[1] or '', '')) do redis.call('ZREM', 'batches' .. scope, id) end
if fields[2] then redis.call('ZREM', 'webhooks:to:' .. fields[2], id) end
