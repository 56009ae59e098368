-- Queue failed and canceled jobs again, as if they were new. ARGV: now, then the ids.
-- Returns the ids of the queued jobs.
local now, retried = clock(ARGV[1]), {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local job, key = read(id), 'job:' .. id
  if job and (job.status == 'failed' or job.status == 'canceled') then
    redis.call('HSET', key, 'status', '"queued"', 'attempts', 0, '_queued_at', number(now))
    redis.call('HDEL', key, 'error', 'started_at', 'completed_at', '_token', '_postponed', '_first')
    move(id, job.status, 'queued', job.owner, job.batch)
    write()
    enqueue(job)
    table.insert(retried, id)
  end
end
return retried
