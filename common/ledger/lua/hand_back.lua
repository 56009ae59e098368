-- Have claimed jobs wait again; the attempt does not count.
-- ARGV: now, '' or the first pause in seconds, the longest pause, then id and token of each.
-- With a pause a job waits in vain that long, twice as long the next time. Returns the ids of those handed back.
local now, first, longest, handed_back = clock(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for place = 4, #ARGV, 2 do
  local job = read(ARGV[place])
  if job and job.status == 'processing' and job.token == ARGV[place + 1] then
    local key, attempts = 'job:' .. job.id, job.attempts - 1
    redis.call('HSET', key, 'status', '"queued"', 'attempts', attempts)
    redis.call('HDEL', key, 'started_at', '_token')
    move(job.id, 'processing', 'queued', job.owner, job.batch)
    remove('leases', job.id)
    write()
    if first then
      -- The exponent is bounded: a job may be postponed for days, and no float holds 2 ^ 1024.
      local times = redis.call('HINCRBY', key, '_postponed', 1) - 1
      redis.call('ZADD', 'queue:delayed', number(now + math.min(first * 2 ^ math.min(times, 32), longest)), job.id)
    else
      enqueue_again(job.id, job.owner, job.batch, attempts)
    end
    table.insert(handed_back, job.id)
  end
end
return handed_back
