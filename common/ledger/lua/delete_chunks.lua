-- Delete the records of chunks. ARGV: batch, first chunk, number of chunks.
for chunk = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1 do
  local id = ARGV[1] .. '/' .. chunk
  local lane = lane_of_chunk('chunk:' .. id)
  -- Delete first: when Redis is out of memory, a script may write only after its first deletion.
  redis.call('DEL', 'chunk:' .. id)
  redis.call('ZREM', lane, id)
  dequeue_chunk(lane, ARGV[1], id)
end
