-- Record a batch unless it exists.
-- ARGV: now, id, retention, owner, seconds after which it is canceled or '', key of the leases of the task that fills it
-- (`archives`, `manifests`) or '', then names and values of further fields.
local now, id, retention, owner = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4]
local key = 'batch:' .. id
if redis.call('EXISTS', key) == 1 then return end -- redis-py repeats the script after a timeout
local fields = {'created_at', number(now), 'expires_at', number(now + retention), 'owner', owner, 'sealed', '0'}
if ARGV[5] ~= '' then
  local cancel_after = number(now + tonumber(ARGV[5]))
  table.insert(fields, 'cancel_after')
  table.insert(fields, cancel_after)
  redis.call('ZADD', 'deadlines:batches', cancel_after, id)
end
for i = 7, #ARGV do table.insert(fields, ARGV[i]) end
redis.call('HSET', key, unpack(fields))
for _, scope in ipairs(scopes_of(owner, '')) do redis.call('ZADD', 'batches' .. scope, 0, id) end
redis.call('ZADD', 'expiring:batches', number(now + retention), id)
redis.call('SET', 'known:' .. id, owner, 'EX', math.floor(2 * retention) + 1)
if ARGV[6] ~= '' then redis.call('ZADD', ARGV[6], number(now), id) end
