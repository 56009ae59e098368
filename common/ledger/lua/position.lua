-- How many jobs are claimed before a waiting one, as far as can be known now.
-- ARGV: id, owner, batch, how many claims make one bulk share.
local id, owner, lane, share = ARGV[1], ARGV[2], lane_of(ARGV[3]), tonumber(ARGV[4])
local suspect = redis.call('ZRANK', 'queue:suspects', id)
if suspect then return suspect end
local rank = redis.call('ZRANK', queue_of(lane, owner), id)
if not rank then return 0 end -- postponed

local mine = tonumber(redis.call('ZSCORE', 'turns:' .. lane, owner)) + rank
local ahead, turns = rank, redis.call('ZRANGE', 'turns:' .. lane, 0, -1, 'WITHSCORES')
for place = 1, #turns, 2 do
  local other = turns[place]
  if other ~= owner then
    local sooner = mine - tonumber(turns[place + 1]) + (other < owner and 1 or 0)
    if sooner > 0 then ahead = ahead + math.min(sooner, redis.call('ZCARD', queue_of(lane, other))) end
  end
end

local lane_beside = lane == 'bulk' and 'interactive' or 'bulk'
local beside = 0
for _, other in ipairs(redis.call('ZRANGE', 'turns:' .. lane_beside, 0, -1)) do
  beside = beside + redis.call('ZCARD', queue_of(lane_beside, other))
end
if lane == 'bulk' then return ahead + math.min(beside, (ahead + 1) * (share - 1)) end
return ahead + math.min(beside, math.floor(ahead / (share - 1)))
