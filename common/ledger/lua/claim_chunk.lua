-- Claim the chunk whose lease has ended longest ago, else the next one of the batch whose turn it is.
-- ARGV: now, lease in seconds, token, model of the worker or '', status of a claimed chunk.
-- Returns {id, record before the claim as a flat list}, or false if none can be claimed.
local now, lanes = clock(ARGV[1]), lanes_of_worker('chunks', ARGV[4])
local id, lane, ended
for _, name in ipairs(lanes) do
  local lost = redis.call('ZRANGEBYSCORE', name, '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, 1)
  if lost[1] and (not id or tonumber(lost[2]) < ended) then id, lane, ended = lost[1], name, tonumber(lost[2]) end
end
if not id then
  local batch, turn
  for _, name in ipairs(lanes) do
    local first = redis.call('ZRANGE', 'turns:' .. name, 0, 0, 'WITHSCORES')
    if first[1] and (not batch or tonumber(first[2]) < turn) then batch, lane, turn = first[1], name, tonumber(first[2]) end
  end
  if not batch then return false end
  id = redis.call('ZPOPMIN', queue_of(lane, batch))[1]
  redis.call('ZADD', 'turns:' .. lane, redis.call('INCR', 'turn'), batch)
  leave_turns(lane, batch)
end
return claim_record(lane, id, 'chunk:' .. id, '', ARGV[5], ARGV[3], now + tonumber(ARGV[2]))
