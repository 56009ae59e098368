-- Estimate how many jobs will be claimed before a waiting one.
-- ARGV: id, owner, batch, bulk share (one claim in so many).
local id, owner, lane, share = ARGV[1], ARGV[2], lane_of(ARGV[3]), tonumber(ARGV[4])
local suspect = redis.call('ZRANK', 'queue:suspects', id)
if suspect then return suspect end
local rank = redis.call('ZRANK', queue_of(lane, owner), id)
if not rank then return 0 end -- postponed

local turn = tonumber(redis.call('ZSCORE', 'turns:' .. lane, owner)) + rank
local ahead, turns = rank, redis.call('ZRANGE', 'turns:' .. lane, 0, -1, 'WITHSCORES')
for i = 1, #turns, 2 do
  local other = turns[i]
  if other ~= owner then
    local earlier_claims = turn - tonumber(turns[i + 1]) + (other < owner and 1 or 0)
    if earlier_claims > 0 then ahead = ahead + math.min(earlier_claims, redis.call('ZCARD', queue_of(lane, other))) end
  end
end

local other_lane = lane == 'bulk' and 'interactive' or 'bulk'
local waiting = 0
for _, other in ipairs(redis.call('ZRANGE', 'turns:' .. other_lane, 0, -1)) do
  waiting = waiting + redis.call('ZCARD', queue_of(other_lane, other))
end
if lane == 'bulk' then return ahead + math.min(waiting, (ahead + 1) * (share - 1)) end
return ahead + math.min(waiting, math.floor(ahead / (share - 1)))
