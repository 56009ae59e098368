-- Record a job unless a job with its Idempotency-Key exists.
-- ARGV: now, id, retention, owner, batch, status, Redis key of the idempotency entry or '', entry, then the fields.
-- Returns {creation time, false}, or {false, entry of the existing job}.
local now, id, retention, owner, batch, status = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local key, idempotency = 'job:' .. id, ARGV[7]
if idempotency ~= '' then
  local existing = redis.call('GET', idempotency)
  if existing and redis.call('EXISTS', 'job:' .. cjson.decode(existing).id) == 1 then return {false, existing} end
  redis.call('SET', idempotency, ARGV[8], 'EX', math.floor(retention) + 1)
end
-- redis-py repeats the script after a timeout, and a worker may have claimed the job meanwhile.
local created = redis.call('HGET', key, 'created_at')
if created then return {created, false} end
local fields = {'created_at', number(now), 'expires_at', number(now + retention)}
if status ~= 'queued' then
  table.insert(fields, 'completed_at')
  table.insert(fields, number(now))
end
for i = 9, #ARGV do table.insert(fields, ARGV[i]) end
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
  if job.webhook then add_webhook(id, 'job.' .. status, job.webhook, job.webhook_host, now) end
else
  count_change(batch)
end
return {number(now), false}
