-- Record a job, or nothing if its Idempotency-Key made one before.
-- ARGV: now, id, retention, owner, batch, status, key of the Idempotency-Key's entry or '', that entry, then the fields.
-- Returns {the time, false}, or {false, the entry of the earlier job}.
local now, id, retention, owner, batch, status = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local key, idempotency = 'job:' .. id, ARGV[7]
if idempotency ~= '' then
  local earlier = redis.call('GET', idempotency)
  if earlier and redis.call('EXISTS', 'job:' .. cjson.decode(earlier).id) == 1 then return {false, earlier} end
  redis.call('SET', idempotency, ARGV[8], 'EX', math.floor(retention) + 1)
end
-- redis-py sends the script again when no answer came in time, and a worker may have claimed the job meanwhile.
local known = redis.call('HGET', key, 'created_at')
if known then return {known, false} end
local fields = {'created_at', number(now), 'expires_at', number(now + retention)}
if status ~= 'queued' then
  table.insert(fields, 'completed_at')
  table.insert(fields, number(now))
end
for place = 9, #ARGV do table.insert(fields, ARGV[place]) end
redis.call('HSET', key, unpack(fields))
for _, scope in ipairs(scopes_of(owner, batch)) do
  redis.call('ZADD', 'index:' .. status .. scope, 0, id)
  redis.call('ZADD', 'index:all' .. scope, 0, id)
end
redis.call('ZADD', 'expiring', number(now + retention), id)
if status == 'queued' then
  enqueue(id, owner, batch)
elseif batch == '' then
  local job = read(id)
  if job.webhook then announce(id, 'job.' .. status, job.webhook, job.webhook_host, now) end
end
return {number(now), false}
