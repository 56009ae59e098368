-- Write results of claims that hold.
-- ARGV: now, seconds for which captions are remembered, then for each: id, token, key under which its caption is
-- remembered or '', that caption, how many fields and values follow, and these; the first field is the status.
-- Returns 1 or 0 for each: whether it was written.
local now, written, endings, place = clock(ARGV[1]), {}, {}, 3
while place <= #ARGV do
  local job, count = read(ARGV[place]), tonumber(ARGV[place + 4])
  local holds = job and job.status == 'processing' and job.token == ARGV[place + 1]
  table.insert(written, holds and 1 or 0)
  if holds then
    table.insert(endings, {job, {unpack(ARGV, place + 5, place + 4 + count)}})
    if ARGV[place + 2] ~= '' then redis.call('SET', ARGV[place + 2], ARGV[place + 3], 'EX', ARGV[2]) end
  end
  place = place + 5 + count
end
finish(endings, now)
return written
