-- Change the queue of schema 3 and earlier to that of schema 4. ARGV: schema version.
-- Turns were numbers of an owner's claims, and one sorted set had the waiting chunks of all batches.
redis.call('DEL', 'queue:passed')
local turn = tonumber(redis.call('GET', 'turn') or 0)
for _, lane in ipairs({'interactive', 'bulk'}) do
  turn = math.max(turn, tonumber(redis.call('ZRANGE', 'turns:' .. lane, -1, -1, 'WITHSCORES')[2] or 0))
end
redis.call('SET', 'turn', string.format('%.0f', turn))
for _, id in ipairs(redis.call('ZRANGE', 'chunks:waiting', 0, -1)) do
  local batch, chunk = string.match(id, '^([^/]*)/(.*)$')
  enter('chunks', batch, chunk, id, '')
end
redis.call('DEL', 'chunks:waiting')
redis.call('SET', 'schema', ARGV[1])
