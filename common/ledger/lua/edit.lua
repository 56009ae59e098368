-- Set or remove the captions that a person wrote, of all these jobs or, unless all have succeeded, of none.
-- ARGV: now, then id and caption as JSON or '' of each job.
-- Returns the id of the first job that has not succeeded or does not exist, else false.
local now, changed = clock(ARGV[1]), {}
for i = 2, #ARGV, 2 do
  local job = read(ARGV[i])
  if not job or job.status ~= 'succeeded' then return ARGV[i] end
  changed[job.batch] = true
end
for i = 2, #ARGV, 2 do
  local key, caption = 'job:' .. ARGV[i], ARGV[i + 1]
  if caption == '' then
    redis.call('HDEL', key, 'edited')
  else
    redis.call('HSET', key, 'edited', '{"caption": ' .. caption .. ', "at": ' .. number(now) .. '}')
  end
end
for batch in pairs(changed) do count_change(batch) end
return false
