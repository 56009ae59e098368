-- Record a job, unless a job with its idempotency entry exists or its batch takes no more jobs. An entry with
-- `while_open` no longer counts once its job has ended.
-- ARGV: now, id, retention, owner, batch, model or '', status, Redis key of the idempotency entry or '', entry, seconds
-- after which the job is canceled or '', then the fields.
-- Returns {creation time, false}; {false, entry of the existing job}; or {false, false} if the batch is sealed or gone.
local now, id, retention, owner, batch = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]
local model, status, key, idempotency = ARGV[6], ARGV[7], 'job:' .. id, ARGV[8]
if idempotency ~= '' and not redis.call('SET', idempotency, ARGV[9], 'NX', 'EX', math.floor(retention) + 1) then
  local existing = redis.call('GET', idempotency)
  local entry = cjson.decode(existing)
  if entry.id ~= id then -- else redis-py repeats the script after a timeout
    local job = read(entry.id)
    local open = job and (job.status == 'queued' or job.status == 'processing')
    if open or (job and not entry.while_open) then return {false, existing} end
    redis.call('SET', idempotency, ARGV[9], 'EX', math.floor(retention) + 1)
  end
end
if batch ~= '' and redis.call('HGET', 'batch:' .. batch, 'sealed') ~= '0' then
  local created = redis.call('HGET', key, 'created_at') -- the script is repeated, and the batch was sealed meanwhile
  if created then return {created, false} end
  if idempotency ~= '' then redis.call('DEL', idempotency) end
  return {false, false}
end
-- If the script is repeated, a worker may have claimed the job meanwhile.
if redis.call('ZADD', 'expiring', 'NX', number(now + retention), id) == 0 then
  return {redis.call('HGET', key, 'created_at'), false}
end
local fields = {'created_at', number(now), 'expires_at', number(now + retention)}
local new = {id = id, owner = owner, batch = batch, model = model}
local lane = lane_of(new)
if model ~= '' then
  table.insert(fields, '_model')
  table.insert(fields, model)
end
if status == 'queued' and enqueue(new) then
  table.insert(fields, '_first')
  table.insert(fields, '1')
end
if status ~= 'queued' then
  table.insert(fields, 'completed_at')
  table.insert(fields, number(now))
elseif ARGV[10] ~= '' then
  redis.call('ZADD', 'deadlines', number(now + tonumber(ARGV[10])), id)
end
for i = 11, #ARGV do table.insert(fields, ARGV[i]) end
redis.call('HSET', key, unpack(fields))
for _, scope in ipairs(scopes_of(owner, batch)) do
  redis.call('ZADD', 'index:' .. status .. scope, 0, id)
  redis.call('ZADD', 'index:all' .. scope, 0, id)
end
if status ~= 'failed' then count('accepted:' .. lane) end
if status == 'succeeded' then count('cached:' .. lane) end
if status ~= 'queued' then
  local job = read(id)
  count_ended(job, status, redis.call('HGET', key, 'error'), now)
  if job.webhook and batch == '' then add_webhook(id, 'job.' .. status, job.webhook, job.webhook_host, now) end
  count_change(batch)
end
write_counts()
return {number(now), false}
