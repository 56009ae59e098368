-- Write the results of valid claims.
-- ARGV: now, TTL of cached captions in seconds, then for each result: id, token, caption cache key or '', caption,
-- name of the model or '', seconds and size of the model call, number of names and values that follow, the names and
-- values of the fields; the first field is the status.
-- Returns 1 for each result that was written, else 0.
local now, written, endings, i = clock(ARGV[1]), {}, {}, 3
while i <= #ARGV do
  local job, model, length = read(ARGV[i]), ARGV[i + 4], tonumber(ARGV[i + 7])
  local valid = job and job.status == 'processing' and job.token == ARGV[i + 1]
  table.insert(written, valid and 1 or 0)
  if valid then
    table.insert(endings, {job, {unpack(ARGV, i + 8, i + 7 + length)}})
    if ARGV[i + 2] ~= '' then redis.call('SET', ARGV[i + 2], ARGV[i + 3], 'EX', ARGV[2]) end
    if model ~= '' then
      observe('model', model, tonumber(ARGV[i + 5]), SECONDS)
      observe('batch', model, tonumber(ARGV[i + 6]), SIZES)
    end
  end
  i = i + 8 + length
end
finish(endings, now)
return written
