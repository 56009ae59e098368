-- Write the results of valid claims.
-- ARGV: now, TTL of cached captions in seconds, then for each result: id, token, caption cache key or '', caption,
-- number of names and values that follow, the names and values of the fields; the first field is the status.
-- Returns 1 for each result that was written, else 0.
local now, written, endings, i = clock(ARGV[1]), {}, {}, 3
while i <= #ARGV do
  local job, count = read(ARGV[i]), tonumber(ARGV[i + 4])
  local valid = job and job.status == 'processing' and job.token == ARGV[i + 1]
  table.insert(written, valid and 1 or 0)
  if valid then
    table.insert(endings, {job, {unpack(ARGV, i + 5, i + 4 + count)}})
    if ARGV[i + 2] ~= '' then redis.call('SET', ARGV[i + 2], ARGV[i + 3], 'EX', ARGV[2]) end
  end
  i = i + 5 + count
end
finish(endings, now)
return written
